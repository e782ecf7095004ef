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
//		max_per_message <amount>
//		max_per_day     <amount>
//		timezone        <name>
//		name            <name>
//		case            fold|exact
//		redis <address> { ... }, or spool { ... }: see sharing.Sharing
//	}
//
// An amount is a number, or {msa.identity.attributes.NAME} and a number for those who have no such attribute; such a placeholder is a pattern too.
func (p *Recipients) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the policy's name
	return conf.Block(d, append([]conf.Setting{
		conf.Lists("allow", &p.Allow),
		conf.Lists("allow_file", &p.AllowFiles),
		conf.Lists("deny", &p.Deny),
		conf.Lists("deny_file", &p.DenyFiles),
		conf.AmountOf("max_per_message", conf.Pieces, &p.MaxPerMessage),
		conf.AmountOf("max_per_day", conf.Pieces, &p.MaxPerDay),
		conf.Value("case", &p.Case),
		conf.Text("timezone", &p.Timezone),
		conf.Text("name", &p.Name),
	}, p.Settings()...)...)
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Recipients)(nil)
