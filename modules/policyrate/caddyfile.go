package policyrate

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

// UnmarshalCaddyfile sets up the policy from Caddyfile tokens. Syntax:
//
//	policy [@matcher] rate_limit {
//		messages   <amount>
//		recipients <amount>
//		bytes      <amount>
//		window      <duration>
//		window      <duration> { <amounts> }
//		per_message { <amounts> }
//		burst      <percent>
//		by         user | network | sender_domain | recipient_domain | server | {msa.identity.attributes.NAME}
//		reject
//		case       fold | exact
//		name       <name>
//		redis <address> { ... }, or spool { ... }: see sharing.Sharing
//	}
//
// An amount is a number or a size, or {msa.identity.attributes.NAME} and one for those who have no such attribute.
func (p *RateLimit) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the policy's name
	settings := append(amounts(&p.Messages, &p.Recipients, &p.Bytes),
		conf.Each("window", p.readWindow),
		conf.Func("per_message", p.readPerMessage),
		conf.Count("burst", &p.Burst),
		conf.WordOrAttribute("by", &p.By, by...),
		conf.Flag("reject", &p.Reject),
		conf.Value("case", &p.Case),
		conf.Text("name", &p.Name),
	)
	return conf.Block(d, append(settings, p.Settings()...)...)
}

// Interface guard
var _ caddyfile.Unmarshaler = (*RateLimit)(nil)
