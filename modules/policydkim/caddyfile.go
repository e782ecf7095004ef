package policydkim

import (
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

// UnmarshalCaddyfile sets up the policy from Caddyfile tokens. A key that is a placeholder and nothing else, or PEM, is the
// key itself, any other a file. Syntax:
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
	return conf.Block(d,
		conf.Each("key", p.unmarshalKey),
		conf.List("headers", &p.Headers),
		conf.Func("oversign", func(d *caddyfile.Dispenser) error {
			p.Oversign = append([]string{}, d.RemainingArgs()...) // empty: none
			return nil
		}),
		conf.Text("canonicalization", &p.Canonicalization),
		conf.Value("expire", &p.Expire),
		conf.Flag("require", &p.Require),
	)
}

func (p *DKIM) unmarshalKey(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) < 3 || len(args) > 4 || len(args) == 4 && args[3] != "always" {
		return d.Err("key takes a domain, a selector and a file, as in: key example.org s2026 /etc/caddy/dkim.pem")
	}
	k := &Key{Domain: args[0], Selector: args[1], Always: len(args) == 4}
	if key := args[2]; isPEM(key) || strings.HasPrefix(key, "{") && strings.IndexByte(key, '}') == len(key)-1 {
		k.Key = conf.Secret(args[2])
	} else {
		k.File = args[2]
	}
	p.Keys = append(p.Keys, k)
	return nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*DKIM)(nil)
