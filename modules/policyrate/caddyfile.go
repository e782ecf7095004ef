package policyrate

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

// UnmarshalCaddyfile sets up the policy from Caddyfile tokens. Syntax:
//
//	policy [@matcher] rate_limit {
//		messages   <count>
//		recipients <count>
//		bytes      <size>
//		window     <duration>
//		burst      <percent>
//		by         user | network | sender_domain | recipient_domain | server
//		reject
//		case       fold | exact
//		name       <name>
//		redis <address> { ... }, or spool { ... }: see sharing.Sharing
//	}
func (p *RateLimit) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the policy's name
	return conf.Block(d, append([]conf.Setting{
		conf.Count("messages", &p.Messages),
		conf.Count("recipients", &p.Recipients),
		conf.Size("bytes", &p.Bytes),
		conf.Value("window", &p.Window),
		conf.Count("burst", &p.Burst),
		conf.Word("by", &p.By, by...),
		conf.Flag("reject", &p.Reject),
		conf.Value("case", &p.Case),
		conf.Text("name", &p.Name),
	}, p.Settings()...)...)
}

// Interface guard
var _ caddyfile.Unmarshaler = (*RateLimit)(nil)
