package sinkwebhook

import (
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa/webcall"
)

// UnmarshalCaddyfile sets up the sink from Caddyfile tokens. Syntax:
//
//	webhook <url> {
//		format      raw|multipart
//		timeout     <duration>
//		concurrency <count>
//		# and how to reach the service: socket, bearer, hmac_key, ca, server_name,
//		# client_certificate, insecure_plaintext, header
//	}
func (s *Webhook) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the sink's name
	if !d.AllArgs(&s.URL) {
		return d.Err("webhook takes a URL, as in: webhook https://in.example.org/mail")
	}
	for d.NextBlock(0) {
		known, err := s.Config.Setting(d)
		if err != nil {
			return err
		}
		if known {
			continue
		}
		name, text := d.Val(), ""
		switch name {
		case "format", "timeout", "concurrency":
		default:
			return d.Errf("webhook: unknown setting %s; there are format, timeout, concurrency, %s", name, webcall.Settings)
		}
		if !d.AllArgs(&text) {
			return d.ArgErr()
		}
		switch name {
		case "format":
			s.Format = text
		case "timeout":
			v, err := caddy.ParseDuration(text)
			if err != nil || v <= 0 {
				return d.Errf("webhook: timeout: %q is no duration", text)
			}
			s.Timeout = caddy.Duration(v)
		default:
			if s.Concurrency, err = strconv.Atoi(text); err != nil || s.Concurrency <= 0 {
				return d.Errf("webhook: concurrency: %q is no number above 0", text)
			}
		}
	}
	return nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Webhook)(nil)
