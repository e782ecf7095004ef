package policydkim

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa/secret"
)

// UnmarshalCaddyfile sets up the policy from Caddyfile tokens. A key that is a placeholder is the key
// itself, any other a file. Syntax:
//
//	policy [@matcher] dkim {
//		key              <domain> <selector> <file>|<key> [always]
//		headers          <names...>
//		oversign         <names...>
//		canonicalization <header>/<body>
//		expire           <duration>
//		require
//	}
func (p *DKIM) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the policy's name
	if d.NextArg() {
		return d.Err("dkim takes a block: policy dkim { key example.org s2026 /etc/caddy/dkim.pem }")
	}
	for d.NextBlock(0) {
		name := d.Val()
		args := d.RemainingArgs()
		switch name {
		case "key":
			if len(args) < 3 || len(args) > 4 || len(args) == 4 && args[3] != "always" {
				return d.Err("dkim: key takes a domain, a selector and a file, as in: key example.org s2026 /etc/caddy/dkim.pem")
			}
			k := &Key{Domain: args[0], Selector: args[1], Always: len(args) == 4}
			if args[2] != "" && args[2][0] == '{' {
				k.Key = secret.Secret(args[2])
			} else {
				k.File = args[2]
			}
			p.Keys = append(p.Keys, k)
		case "headers":
			p.Headers = append(p.Headers, args...)
		case "oversign":
			p.Oversign = append([]string{}, args...)
		case "canonicalization", "expire":
			if len(args) != 1 {
				return d.ArgErr()
			}
			if name == "canonicalization" {
				p.Canonicalization = args[0]
				continue
			}
			v, err := caddy.ParseDuration(args[0])
			if err != nil || v <= 0 {
				return d.Errf("dkim: expire: %q is no duration", args[0])
			}
			p.Expire = caddy.Duration(v)
		case "require":
			if len(args) != 0 {
				return d.ArgErr()
			}
			p.Require = true
		default:
			return d.Errf("dkim: unknown setting %s; there are key, headers, oversign, canonicalization, expire and require", name)
		}
	}
	return nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*DKIM)(nil)
