package webcall

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa/secret"
)

// Settings are the names of a Config's settings in a Caddyfile block.
const Settings = "socket, bearer, hmac_key, ca, server_name, client_certificate, insecure_plaintext and header"

// Setting reads a line of a Caddyfile block, if it is one of a Config's:
//
//	socket             <path>
//	bearer             <token>
//	hmac_key           <key>
//	ca                 <files...>
//	server_name        <name>
//	client_certificate <certificate> <key>
//	insecure_plaintext
//	header             <name> <value>
func (c *Config) Setting(d *caddyfile.Dispenser) (known bool, err error) {
	name := d.Val()
	counts := map[string]int{"socket": 1, "bearer": 1, "hmac_key": 1, "ca": -1, "server_name": 1, "client_certificate": 2, "insecure_plaintext": 0, "header": 2}
	want, known := counts[name]
	if !known {
		return false, nil
	}
	args := d.RemainingArgs()
	if want >= 0 && len(args) != want || want < 0 && len(args) == 0 {
		return true, d.ArgErr()
	}
	switch name {
	case "socket":
		c.Socket = args[0]
	case "bearer":
		c.Bearer = secret.Secret(args[0])
	case "hmac_key":
		c.HMACKey = secret.Secret(args[0])
	case "ca":
		c.CA = append(c.CA, args...)
	case "server_name":
		c.ServerName = args[0]
	case "client_certificate":
		c.ClientCertificate, c.ClientKey = args[0], args[1]
	case "insecure_plaintext":
		c.InsecurePlaintext = true
	case "header":
		if c.Headers == nil {
			c.Headers = make(map[string]string)
		}
		c.Headers[args[0]] = args[1]
	}
	return true, nil
}
