package policyhttp

import (
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa/webcall"
)

// UnmarshalCaddyfile sets up the policy from Caddyfile tokens. Syntax:
//
//	policy [@matcher] http <url> {
//		moments        sender | recipient | message ...
//		content
//		timeout        <duration>
//		max_concurrent <count>
//		on_failure     tempfail | reject | accept
//		# and how to reach the service: socket, bearer, hmac_key, ca, server_name,
//		# client_certificate, insecure_plaintext, header
//	}
func (p *HTTP) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the policy's name
	if !d.AllArgs(&p.URL) {
		return d.Err("http takes a URL, as in: policy http https://check.example.org/msa")
	}
	for d.NextBlock(0) {
		known, err := p.Config.Setting(d)
		if err != nil {
			return err
		}
		if known {
			continue
		}
		name := d.Val()
		args := d.RemainingArgs()
		switch {
		case name == "moments" && len(args) > 0:
			p.Moments = append(p.Moments, args...)
		case name == "content" && len(args) == 0:
			p.Content = true
		case name == "on_failure" && len(args) == 1:
			p.OnFailure = args[0]
		case name == "timeout" && len(args) == 1:
			v, err := caddy.ParseDuration(args[0])
			if err != nil || v <= 0 {
				return d.Errf("http: timeout: %q is no duration", args[0])
			}
			p.Timeout = caddy.Duration(v)
		case name == "max_concurrent" && len(args) == 1:
			if _, err := fmt.Sscan(args[0], &p.MaxConcurrent); err != nil || p.MaxConcurrent <= 0 {
				return d.Errf("http: max_concurrent: %q is no number above 0", args[0])
			}
		case name == "moments" || name == "content" || name == "on_failure" || name == "timeout" || name == "max_concurrent":
			return d.ArgErr()
		default:
			return d.Errf("http: unknown setting %s; there are moments, content, timeout, max_concurrent, on_failure, %s", name, webcall.Settings)
		}
	}
	return nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*HTTP)(nil)
