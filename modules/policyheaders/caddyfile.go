package policyheaders

import (
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

// UnmarshalCaddyfile sets up the policy from Caddyfile tokens. Syntax:
//
//	policy [@matcher] headers {
//		require     <names...>
//		add_missing <names...>
//		prepend     <name> <value>
//		refuse_bcc
//		strict
//	}
func (p *Headers) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the policy's name
	return conf.Block(d,
		conf.Lists("require", &p.Require),
		conf.Lists("add_missing", &p.AddMissing),
		conf.Each("prepend", func(d *caddyfile.Dispenser) error {
			var name, value string
			if !d.AllArgs(&name, &value) {
				return d.Err(`prepend takes a name and a value, as in: prepend X-Gateway "msa.example.org"`)
			}
			p.Prepend = append(p.Prepend, strings.TrimSuffix(name, ":")+": "+value)
			return nil
		}),
		conf.Flag("refuse_bcc", &p.RefuseBcc),
		conf.Flag("strict", &p.Strict),
	)
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Headers)(nil)
