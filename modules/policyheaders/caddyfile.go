package policyheaders

import (
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
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
	if d.NextArg() {
		return d.Err("headers takes a block: policy headers { require Date Message-ID }")
	}
	for d.NextBlock(0) {
		name := d.Val()
		args := d.RemainingArgs()
		switch name {
		case "require", "add_missing":
			if len(args) == 0 {
				return d.ArgErr()
			}
			if name == "require" {
				p.Require = append(p.Require, args...)
			} else {
				p.AddMissing = append(p.AddMissing, args...)
			}
		case "prepend":
			if len(args) != 2 {
				return d.Err(`headers: prepend takes a name and a value, as in: prepend X-Gateway "msa.example.org"`)
			}
			p.Prepend = append(p.Prepend, strings.TrimSuffix(args[0], ":")+": "+args[1])
		case "refuse_bcc", "strict":
			if len(args) != 0 {
				return d.ArgErr()
			}
			p.RefuseBcc = p.RefuseBcc || name == "refuse_bcc"
			p.Strict = p.Strict || name == "strict"
		default:
			return d.Errf("headers: unknown setting %s; there are require, add_missing, prepend, refuse_bcc and strict", name)
		}
	}
	return nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Headers)(nil)
