package app

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func (p *serverParser) limits(d *caddyfile.Dispenser) error {
	l := &p.srv.Limits
	counts := map[string]*int{
		"recipients": &l.Recipients, "priority": &l.Priority, "connections": &l.Connections, "connections_per_ip": &l.ConnectionsPerIP,
		"unauthenticated": &l.Unauthenticated, "bad_commands": &l.BadCommands, "auth_failures": &l.AuthFailures,
	}
	return block(d, func(name string) error {
		if name == "message_size" {
			return size(d, &l.MessageSize)
		}
		if counts[name] == nil {
			return d.Errf("unknown limit %q; there are message_size, recipients, priority, connections, connections_per_ip, unauthenticated, bad_commands and auth_failures", name)
		}
		return count(d, counts[name])
	})
}

func (p *serverParser) timeouts(d *caddyfile.Dispenser) error {
	t := &p.srv.Timeouts
	known := map[string]*caddy.Duration{
		"handshake": &t.Handshake, "before_auth": &t.BeforeAuth, "command": &t.Command, "data": &t.Data, "session": &t.Session,
	}
	return block(d, func(name string) error {
		if known[name] == nil {
			return d.Errf("unknown timeout %q; there are handshake, before_auth, command, data and session", name)
		}
		return duration(d, known[name])
	})
}

func (p *serverParser) queue(d *caddyfile.Dispenser) error {
	if p.app.Queue != nil {
		return d.Err("queue stands twice; it belongs to the app, so one of the msa blocks sets it")
	}
	q := new(QueueConfig)
	p.app.Queue = q
	return block(d, func(name string) error {
		if known, err := q.RetryConfig.setting(d, name); known || err != nil {
			return err
		}
		switch name {
		case "dead_letters":
			return duration(d, &q.DeadLetters)
		case "show_content":
			if q.ShowContent = true; d.NextArg() {
				return d.ArgErr()
			}
			return nil
		case "workers":
			return count(d, &q.Workers)
		}
		return d.Errf("unknown queue setting %q; there are retry, expire, warn, destination, dead_letters, show_content and workers", name)
	})
}

func (p *serverParser) spool(d *caddyfile.Dispenser) (err error) {
	if p.app.SpoolRaw != nil {
		return d.Err("spool stands twice; it belongs to the app, so one of the msa blocks sets it")
	}
	if !d.NextArg() {
		return d.Err("spool takes a module, as in: spool file /var/spool/caddy-msa")
	}
	p.app.SpoolRaw, err = parseModule(d, "msa.spools", "module")
	return err
}
