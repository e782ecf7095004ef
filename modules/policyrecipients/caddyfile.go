package policyrecipients

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

// UnmarshalCaddyfile sets up the policy from Caddyfile tokens. Syntax:
//
//	policy [@matcher] recipients {
//		allow           <patterns...>
//		allow_file      <files...>
//		deny            <patterns...>
//		deny_file       <files...>
//		max_per_message <count>
//		max_per_day     <count>
//		timezone        <name>
//		name            <name>
//		case            fold|exact
//		redis <address> { ... }, or spool { ... }: see sharing.Sharing
//	}
func (p *Recipients) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the policy's name
	return conf.Block(d, append([]conf.Setting{
		conf.Lists("allow", &p.Allow),
		conf.Lists("allow_file", &p.AllowFiles),
		conf.Lists("deny", &p.Deny),
		conf.Lists("deny_file", &p.DenyFiles),
		conf.Count("max_per_message", &p.MaxPerMessage),
		conf.Count("max_per_day", &p.MaxPerDay),
		conf.Value("case", &p.Case),
		conf.Text("timezone", &p.Timezone),
		conf.Text("name", &p.Name),
	}, p.Settings()...)...)
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Recipients)(nil)
