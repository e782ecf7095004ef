package sinklmtp

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop"
)

// UnmarshalCaddyfile sets up the sink from Caddyfile tokens. Syntax:
//
//	lmtp <address> {
//		tls                required|off
//		server_name        <name>
//		ca                 <pem_file...>
//		client_certificate <certificate_file> <key_file>
//		concurrency        <count>
//		max_recipients     <count>
//		connections        <count>
//		connect_timeout    <duration>
//		timeout            <duration>
//		end_timeout        <duration>
//	}
func (s *LMTP) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the sink's name
	if !d.AllArgs(&s.Address) {
		return d.Err("lmtp takes an address, as in: lmtp unix//run/dovecot/lmtp")
	}
	if err := conf.NoURL(s.Address); err != nil {
		return d.Errf("lmtp: %w", err)
	}
	return conf.Block(d, append(s.TLSClient.Settings(),
		conf.Word("tls", &s.TLS, nexthop.TLSRequired, nexthop.TLSOff),
		conf.Count("concurrency", &s.Concurrency),
		conf.Count("max_recipients", &s.MaxRecipients),
		conf.CountOrNone("connections", &s.Connections),
		conf.Value("connect_timeout", &s.ConnectTimeout),
		conf.Value("timeout", &s.Timeout),
		conf.Value("end_timeout", &s.EndTimeout),
	)...)
}

// Interface guard
var _ caddyfile.Unmarshaler = (*LMTP)(nil)
