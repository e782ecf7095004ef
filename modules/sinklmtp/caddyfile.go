package sinklmtp

import (
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// UnmarshalCaddyfile sets up the sink from Caddyfile tokens. Syntax:
//
//	lmtp <address> {
//		tls             required|off
//		server_name     <name>
//		ca              <pem_file...>
//		concurrency     <count>
//		max_recipients  <count>
//		connections     <count>
//		connect_timeout <duration>
//		timeout         <duration>
//		end_timeout     <duration>
//	}
func (s *LMTP) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the sink's name
	if !d.AllArgs(&s.Address) {
		return d.Err("lmtp takes an address, as in: lmtp unix//run/dovecot/lmtp")
	}
	texts := map[string]*string{"tls": &s.TLS, "server_name": &s.ServerName}
	counts := map[string]*int{"concurrency": &s.Concurrency, "max_recipients": &s.MaxRecipients, "connections": &s.Connections}
	durations := map[string]*caddy.Duration{"connect_timeout": &s.ConnectTimeout, "timeout": &s.Timeout, "end_timeout": &s.EndTimeout}
	for d.NextBlock(0) {
		name := d.Val()
		args := d.RemainingArgs()
		if name == "ca" && len(args) > 0 {
			s.CA = append(s.CA, args...)
			continue
		}
		text, count, duration := texts[name], counts[name], durations[name]
		if text == nil && count == nil && duration == nil && name != "ca" {
			return d.Errf("lmtp: unknown setting %s; there are tls, server_name, ca, concurrency, max_recipients, connections, connect_timeout, timeout and end_timeout", name)
		}
		if len(args) != 1 {
			return d.ArgErr()
		}
		switch {
		case text != nil:
			*text = args[0]
		case count != nil:
			n, err := strconv.Atoi(args[0])
			if err != nil || n == 0 {
				return d.Errf("lmtp: %s: %q is not a count", name, args[0])
			}
			*count = n
		default:
			v, err := caddy.ParseDuration(args[0])
			if err != nil || v <= 0 {
				return d.Errf("lmtp: %s: %q is not a duration (for example 5s)", name, args[0])
			}
			*duration = caddy.Duration(v)
		}
	}
	return nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*LMTP)(nil)
