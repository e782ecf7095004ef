package authhttp

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

// UnmarshalCaddyfile sets up the backend from Caddyfile tokens. Syntax:
//
//	http <url> {
//		timeout            <duration>
//		bearer             <token>
//		hmac_key           <key>
//		header             <name> <value>
//		ca                 <file...>
//		server_name        <name>
//		client_certificate <certificate> <key>
//		socket             <path>
//		insecure_plaintext
//		lookup             on|off
//		credentials        on|off
//		cache              <duration>|off
//		case               fold|exact
//		decoy              <scheme or credential...>
//		concurrency        <number>
//	}
func (h *HTTP) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the backend's name
	if !d.Args(&h.URL) {
		return d.Err("http takes the URL of a service, as in http https://auth.example.org/msa")
	}
	lookup := true
	err := conf.Block(d, append(h.Settings(),
		conf.OnOff("lookup", &lookup),
		conf.OnOff("credentials", &h.Credentials),
		conf.DurationOr("cache", &h.Cache, "off", 0),
		conf.Value("case", &h.Case),
		conf.List("decoy", &h.Decoy),
		conf.Value("timeout", &h.Timeout),
		conf.Count("concurrency", &h.Concurrency),
	)...)
	h.NoLookup = !lookup
	return err
}
