package sinknats

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

// UnmarshalCaddyfile sets up the sink from Caddyfile tokens. Syntax:
//
//	nats <urls...> {
//		subject            <subject>
//		stream             <name>
//		core
//		credentials        <file>
//		username           <name>
//		password           <password>
//		token              <token>
//		ca                 <pem_file...>
//		server_name        <name>
//		client_certificate <certificate_file> <key_file>
//		timeout            <duration>
//		concurrency        <count>
//	}
func (s *NATS) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the sink's name
	if s.URLs = d.RemainingArgs(); len(s.URLs) == 0 {
		return d.Err("nats takes a URL, as in: nats tls://nats.example.org:4222 { subject mail.incoming }")
	}
	return conf.Block(d, append(s.Config.Settings(), conf.Count("concurrency", &s.Concurrency))...)
}

// Interface guard
var _ caddyfile.Unmarshaler = (*NATS)(nil)
