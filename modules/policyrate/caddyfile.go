package policyrate

import (
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"

	"github.com/caddy-msa/caddy-msa/caddymsa/secret"
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
//			on_failure local | allow | tempfail
//		}
//	}
func (p *RateLimit) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the policy's name
	if d.NextArg() {
		return d.Err("rate_limit takes a block: policy rate_limit { messages 60; window 1m }, a setting a line")
	}
	for d.NextBlock(0) {
		if err := p.setting(d); err != nil {
			return err
		}
	}
	return nil
}

func (p *RateLimit) setting(d *caddyfile.Dispenser) error {
	name := d.Val()
	switch name {
	case "redis":
		p.Redis = new(Redis)
		if !d.AllArgs(&p.Redis.Address) {
			return d.Err("redis takes an address, such as 127.0.0.1:6379")
		}
		for nesting := d.Nesting(); d.NextBlock(nesting); {
			if err := p.Redis.setting(d); err != nil {
				return err
			}
		}
		return nil
	case "reject":
		if p.Reject = true; d.NextArg() {
			return d.ArgErr()
		}
		return nil
	}
	var arg string
	if !d.AllArgs(&arg) {
		return d.ArgErr()
	}
	var err error
	switch name {
	case "messages":
		return number(d, name, arg, &p.Messages)
	case "recipients":
		return number(d, name, arg, &p.Recipients)
	case "burst":
		return number(d, name, arg, &p.Burst)
	case "bytes":
		n, err := humanize.ParseBytes(arg)
		if err != nil || n == 0 || n > 1<<50 {
			return d.Errf("rate_limit: bytes: %q is not a size; write octets, or a number with KiB or MiB", arg)
		}
		p.Bytes = int64(n)
	case "window":
		p.Window, err = duration(d, name, arg)
	case "by":
		p.By = arg
	case "name":
		p.Name = arg
	case "case":
		if err := p.Case.UnmarshalText([]byte(arg)); err != nil {
			return d.Errf("rate_limit: %v", err)
		}
	default:
		return d.Errf("rate_limit: unknown setting %s; there are messages, recipients, bytes, window, burst, by, case, reject, name and redis", name)
	}
	return err
}

func (r *Redis) setting(d *caddyfile.Dispenser) (err error) {
	name := d.Val()
	if name == "tls" {
		if r.TLS = true; d.NextArg() {
			return d.ArgErr()
		}
		return nil
	}
	var arg string
	if !d.AllArgs(&arg) {
		return d.ArgErr()
	}
	switch name {
	case "username":
		r.Username = arg
	case "password":
		r.Password = secret.Secret(arg)
	case "db":
		if r.DB, err = strconv.Atoi(arg); err != nil {
			return d.Errf("rate_limit: redis: db: %q is no number", arg)
		}
	case "prefix":
		r.Prefix = arg
	case "timeout":
		r.Timeout, err = duration(d, name, arg)
	case "on_failure":
		r.OnFailure = arg
	default:
		return d.Errf("rate_limit: redis: unknown setting %s; there are username, password, db, tls, prefix, timeout and on_failure", name)
	}
	return err
}

func number(d *caddyfile.Dispenser, name, arg string, into *int64) error {
	n, err := strconv.ParseInt(arg, 10, 64)
	if err != nil || n <= 0 {
		return d.Errf("rate_limit: %s: %q is no number above 0", name, arg)
	}
	*into = n
	return nil
}

func duration(d *caddyfile.Dispenser, name, arg string) (caddy.Duration, error) {
	v, err := caddy.ParseDuration(arg)
	if err != nil || v <= 0 {
		return 0, d.Errf("rate_limit: %s: %q is no duration", name, arg)
	}
	return caddy.Duration(v), nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*RateLimit)(nil)
