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
//		redis <address> {
//			username   <name>
//			password   <password>
//			db         <number>
//			tls
//			prefix     <text>
//			timeout    <duration>
//			on_failure local | tempfail | accept
//		}
//	}
func (p *RateLimit) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the policy's name
	return conf.Block(d,
		conf.Count("messages", &p.Messages),
		conf.Count("recipients", &p.Recipients),
		conf.Size("bytes", &p.Bytes),
		conf.Value("window", &p.Window),
		conf.Count("burst", &p.Burst),
		conf.Word("by", &p.By, by...),
		conf.Flag("reject", &p.Reject),
		conf.Value("case", &p.Case),
		conf.Text("name", &p.Name),
		conf.Func("redis", p.unmarshalRedis),
	)
}

func (p *RateLimit) unmarshalRedis(d *caddyfile.Dispenser) error {
	r := new(Redis)
	p.Redis = r
	if !d.AllArgs(&r.Address) {
		return d.Err("redis takes an address, such as 127.0.0.1:6379")
	}
	if err := conf.NoURL(r.Address); err != nil {
		return d.Errf("redis: %w", err)
	}
	return conf.Block(d,
		conf.Text("username", &r.Username),
		conf.Value("password", &r.Password),
		conf.Number("db", &r.DB),
		conf.Flag("tls", &r.TLS),
		conf.Text("prefix", &r.Prefix),
		conf.Value("timeout", &r.Timeout),
		conf.Word("on_failure", &r.OnFailure, onFailure...),
	)
}

// Interface guard
var _ caddyfile.Unmarshaler = (*RateLimit)(nil)
