package policyhttp

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

// UnmarshalCaddyfile sets up the policy from Caddyfile tokens. Syntax:
//
//	policy [@matcher] http <url> {
//		moments        sender | recipient | message ...
//		content
//		timeout        <duration>
//		concurrency    <count>
//		on_failure     tempfail | accept | refuse
//		# and how to reach the service: socket, bearer, hmac_key, ca, server_name,
//		# client_certificate, insecure_plaintext, header
//	}
func (p *HTTP) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the policy's name
	if !d.AllArgs(&p.URL) {
		return d.Err("http takes a URL, as in: policy http https://check.example.org/msa")
	}
	return conf.Block(d, append(p.Config.Settings(),
		conf.List("moments", &p.Moments),
		conf.Flag("content", &p.Content),
		conf.Value("timeout", &p.Timeout),
		conf.Count("concurrency", &p.Concurrency),
		conf.Word("on_failure", &p.OnFailure, caddymsa.OnFailure...),
	)...)
}

// Interface guard
var _ caddyfile.Unmarshaler = (*HTTP)(nil)
