package webcall

import "github.com/caddy-msa/caddy-msa/caddymsa/conf"

// Settings are the lines of a Caddyfile block:
//
//	socket             <path>
//	bearer             <token>
//	hmac_key           <key>
//	ca                 <pem_file...>
//	server_name        <name>
//	client_certificate <certificate_file> <key_file>
//	insecure_plaintext
//	header             <name> <value>
func (c *Config) Settings() []conf.Setting {
	return append(c.TLSClient.Settings(),
		conf.Text("socket", &c.Socket),
		conf.Value("bearer", &c.Bearer),
		conf.Value("hmac_key", &c.HMACKey),
		conf.Flag("insecure_plaintext", &c.InsecurePlaintext),
		conf.Each("header", conf.Pair(&c.Headers)),
	)
}
