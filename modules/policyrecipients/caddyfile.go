package policyrecipients

import (
	"strconv"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// UnmarshalCaddyfile sets up the policy from Caddyfile tokens. Syntax:
//
//	policy [@matcher] recipients {
//		allow           <patterns...>
//		allow_file      <files...>
//		deny            <patterns...>
//		deny_file       <files...>
//		max_per_message <count>
//		max_per_day     <count>
//		timezone        <name>
//		name            <name>
//		case            fold|exact
//	}
func (p *Recipients) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the policy's name
	if d.NextArg() {
		return d.Err("recipients takes a block: policy recipients { deny example.com }")
	}
	for d.NextBlock(0) {
		name := d.Val()
		args := d.RemainingArgs()
		if len(args) == 0 {
			return d.ArgErr()
		}
		switch name {
		case "allow":
			p.Allow = append(p.Allow, args...)
			continue
		case "allow_file":
			p.AllowFiles = append(p.AllowFiles, args...)
			continue
		case "deny":
			p.Deny = append(p.Deny, args...)
			continue
		case "deny_file":
			p.DenyFiles = append(p.DenyFiles, args...)
			continue
		}
		if len(args) != 1 {
			return d.ArgErr()
		}
		switch name {
		case "max_per_message", "max_per_day":
			n, err := strconv.Atoi(args[0])
			if err != nil || n <= 0 {
				return d.Errf("recipients: %s: %q is no number above 0", name, args[0])
			}
			if name == "max_per_day" {
				p.MaxPerDay = n
			} else {
				p.MaxPerMessage = n
			}
		case "timezone":
			p.Timezone = args[0]
		case "name":
			p.Name = args[0]
		case "case":
			if err := p.Case.UnmarshalText([]byte(args[0])); err != nil {
				return d.Errf("recipients: %v", err)
			}
		default:
			return d.Errf("recipients: unknown setting %s; there are allow, allow_file, deny, deny_file, max_per_message, max_per_day, timezone, name and case", name)
		}
	}
	return nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Recipients)(nil)
