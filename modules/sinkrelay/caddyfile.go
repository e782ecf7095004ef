package sinkrelay

import (
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop"
)

// UnmarshalCaddyfile sets up the sink from Caddyfile tokens. Syntax:
//
//	relay [<host[:port]> [<fallback hosts...>]] {
//		mx
//		resolver             <host[:port]>
//		concurrency          <count>
//		rate                 <messages> <duration>
//		bind                 <IP address>
//		tls                  required|implicit|opportunistic|off
//		server_name          <name>
//		ca                   <pem_file...>
//		client_certificate   <certificate_file> <key_file>
//		insecure_skip_verify
//		auth                 <username> <password> [<mechanism>]
//		auth                 <username> {
//			token_url     <URL>
//			client_id     <id>
//			client_secret <secret>
//			scopes        <scopes...>
//			audience      <audience>
//			mechanism     XOAUTH2|OAUTHBEARER
//		}
//		helo                 <name>
//		connections          <count>
//		idle_timeout         <duration>
//		messages             <count>
//		max_recipients       <count>
//		timeouts {
//			connect  <duration>
//			greeting <duration>
//			command  <duration>
//			data     <duration>
//			end      <duration>
//		}
//	}
func (r *Relay) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the sink's name
	if d.NextArg() {
		r.Host, r.FallbackHosts = d.Val(), d.RemainingArgs()
	}
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if seen[option] {
			return d.Errf("relay: %s is specified twice", option)
		}
		seen[option] = true
		if err := r.unmarshalOption(d, option); err != nil {
			return err
		}
	}
	if r.Host == "" && !r.MX {
		return d.Errf("relay: a host is required, such as smtp.example.net:587, or mx in its block")
	}
	return nil
}

func (r *Relay) unmarshalOption(d *caddyfile.Dispenser, option string) error {
	switch option {
	case "tls":
		if !d.AllArgs(&r.TLS) {
			return d.ArgErr()
		}
		switch r.TLS {
		case nexthop.TLSRequired, nexthop.TLSImplicit, nexthop.TLSOpportunistic, nexthop.TLSOff:
		default:
			return d.Errf("relay: tls: %q is not one of required, implicit, opportunistic, off", r.TLS)
		}
	case "server_name":
		return args(d, &r.ServerName)
	case "ca":
		if r.CA = d.RemainingArgs(); len(r.CA) == 0 {
			return d.ArgErr()
		}
	case "insecure_skip_verify":
		r.InsecureSkipVerify = true
		return args(d)
	case "mx":
		r.MX = true
		return args(d)
	case "resolver":
		return args(d, &r.Resolver)
	case "bind":
		return args(d, &r.Bind)
	case "concurrency":
		return count(d, &r.Concurrency)
	case "rate":
		return r.unmarshalRate(d)
	case "client_certificate":
		return args(d, &r.ClientCertificate, &r.ClientKey)
	case "auth":
		return r.unmarshalAuth(d)
	case "helo":
		return args(d, &r.Helo)
	case "connections":
		return count(d, &r.Connections)
	case "messages":
		return count(d, &r.Messages)
	case "max_recipients":
		return count(d, &r.MaxRecipients)
	case "idle_timeout":
		return duration(d, &r.IdleTimeout)
	case "timeouts":
		return r.unmarshalTimeouts(d)
	default:
		return d.Errf("relay: unknown option %s", option)
	}
	return nil
}

func (r *Relay) unmarshalAuth(d *caddyfile.Dispenser) error {
	a := d.RemainingArgs()
	if len(a) == 1 {
		return r.unmarshalOAuth(d, a[0])
	}
	if len(a) != 2 && len(a) != 3 {
		return d.ArgErr()
	}
	r.Auth = &Auth{Username: a[0], Password: conf.Secret(a[1])}
	if len(a) == 3 {
		r.Auth.Mechanism = a[2]
	}
	return nil
}

func (r *Relay) unmarshalOAuth(d *caddyfile.Dispenser, user string) error {
	o := new(OAuth)
	r.Auth = &Auth{Username: user, OAuth: o}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch d.Val() {
		case "token_url":
			err = args(d, &o.TokenURL)
		case "client_id":
			err = args(d, &o.ClientID)
		case "client_secret":
			var s string
			err = args(d, &s)
			o.ClientSecret = conf.Secret(s)
		case "scopes":
			if o.Scopes = d.RemainingArgs(); len(o.Scopes) == 0 {
				err = d.ArgErr()
			}
		case "audience":
			err = args(d, &o.Audience)
		case "mechanism":
			err = args(d, &r.Auth.Mechanism)
		default:
			err = d.Errf("relay: auth: unknown setting %s; there are token_url, client_id, client_secret, scopes, audience and mechanism", d.Val())
		}
		if err != nil {
			return err
		}
	}
	if o.TokenURL == "" {
		return d.Err("relay: auth takes a user and a password, or a block with a token_url")
	}
	return nil
}

func (r *Relay) unmarshalRate(d *caddyfile.Dispenser) error {
	a := d.RemainingArgs()
	if len(a) != 2 {
		return d.Err("relay: rate takes a number of messages and a time, as in: rate 100 1m")
	}
	n, err := strconv.Atoi(a[0])
	per, perr := caddy.ParseDuration(a[1])
	if err != nil || perr != nil || n <= 0 || per <= 0 {
		return d.Err("relay: rate takes a number of messages and a time, as in: rate 100 1m")
	}
	r.Rate = &Rate{Messages: n, Per: caddy.Duration(per)}
	return nil
}

func (r *Relay) unmarshalTimeouts(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		value, ok := map[string]*caddy.Duration{
			"connect": &r.Timeouts.Connect, "greeting": &r.Timeouts.Greeting, "command": &r.Timeouts.Command,
			"data": &r.Timeouts.Data, "end": &r.Timeouts.End,
		}[d.Val()]
		if !ok {
			return d.Errf("relay: unknown timeout %s; there are connect, greeting, command, data and end", d.Val())
		}
		if err := duration(d, value); err != nil {
			return err
		}
	}
	return nil
}

func args(d *caddyfile.Dispenser, to ...*string) error {
	if !d.AllArgs(to...) {
		return d.ArgErr()
	}
	return nil
}

func count(d *caddyfile.Dispenser, to *int) error {
	option, text := d.Val(), ""
	if !d.AllArgs(&text) {
		return d.ArgErr()
	}
	n, err := strconv.Atoi(text)
	if err != nil || n == 0 {
		return d.Errf("relay: %s: %q is not a count", option, text)
	}
	*to = n
	return nil
}

func duration(d *caddyfile.Dispenser, to *caddy.Duration) error {
	option, text := d.Val(), ""
	if !d.AllArgs(&text) {
		return d.ArgErr()
	}
	v, err := caddy.ParseDuration(text)
	if err != nil || v <= 0 {
		return d.Errf("relay: %s: %q is not a duration (for example 5s)", option, text)
	}
	*to = caddy.Duration(v)
	return nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Relay)(nil)
