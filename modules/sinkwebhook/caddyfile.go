package sinkwebhook

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
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
	return conf.Block(d, append(s.Config.Settings(),
		conf.Word("format", &s.Format, formatRaw, formatMultipart),
		conf.Value("timeout", &s.Timeout),
		conf.Count("concurrency", &s.Concurrency),
	)...)
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Webhook)(nil)
