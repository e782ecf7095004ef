package directive

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa/app"
	"github.com/caddy-msa/caddy-msa/caddymsa/app/places"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

func (p *serverParser) limits(d *caddyfile.Dispenser) error {
	l := &p.srv.Limits
	return conf.Block(d,
		conf.Size("message_size", &l.MessageSize),
		conf.Count("recipients", &l.Recipients),
		conf.Count("priority", &l.Priority),
		conf.Count("connections", &l.Connections),
		conf.Count("connections_per_ip", &l.ConnectionsPerIP),
		conf.Count("unauthenticated", &l.Unauthenticated),
		conf.Count("unauthenticated_per_ip", &l.UnauthenticatedPerIP),
		conf.Count("bad_commands", &l.BadCommands),
		conf.Count("auth_failures", &l.AuthFailures),
		conf.Count("commands_before_auth", &l.CommandsBeforeAuth),
		conf.Size("command_line", &l.CommandLine),
		conf.Size("auth_line", &l.AuthLine),
		conf.Size("refused_octets", &l.RefusedOctets),
		conf.Count("header_fields", &l.HeaderFields),
		conf.Size("header_size", &l.HeaderSize),
		conf.Count("received_fields", &l.ReceivedFields),
		dataRate(&l.DataRate),
	)
}

// dataRate is octets a second, or off.
func dataRate(into *int64) conf.Setting {
	return conf.Func("data_rate", func(d *caddyfile.Dispenser) error {
		if d.CountRemainingArgs() == 1 && d.NextArg() {
			if d.Val() == "off" {
				*into = -1
				return nil
			}
			d.Prev()
		}
		return conf.Parse(d, conf.Size("data_rate", into))
	})
}

func (p *serverParser) timeouts(d *caddyfile.Dispenser) error {
	t := &p.srv.Timeouts
	return conf.Block(d,
		conf.Value("handshake", &t.Handshake),
		conf.Value("before_auth", &t.BeforeAuth),
		conf.Value("command", &t.Command),
		conf.Value("data", &t.Data),
		conf.Value("data_grace", &t.DataGrace),
		conf.Value("write", &t.Write),
		conf.Value("session", &t.Session),
	)
}

func (p *serverParser) queue(d *caddyfile.Dispenser) error {
	if p.app.Queue != nil {
		return d.Errf(ofTheApp, "queue")
	}
	q := new(app.QueueConfig)
	p.app.Queue = q
	return conf.Block(d, append(retrySettings(&q.RetryConfig),
		conf.Value("dead_letters", &q.DeadLetters),
		conf.Flag("show_content", &q.ShowContent),
		conf.Count("workers", &q.Workers),
		conf.Durations("probe", &q.Probe),
		laneSeries(&q.LaneSeries),
	)...)
}

// laneSeries is a number of lanes, or off.
func laneSeries(into *int) conf.Setting {
	return conf.Func("lane_series", func(d *caddyfile.Dispenser) error {
		if d.CountRemainingArgs() == 1 && d.NextArg() {
			if d.Val() == "off" {
				*into = -1
				return nil
			}
			d.Prev()
		}
		return conf.Parse(d, conf.Count("lane_series", into))
	})
}

// retrySettings are what the app's queue and a route's have in common.
func retrySettings(c *app.RetryConfig) []conf.Setting {
	return append(timeSettings(&c.RetryTimes), conf.Each("destination", func(d *caddyfile.Dispenser) error {
		to := new(app.DestinationRetry)
		if to.Domains = d.RemainingArgs(); len(to.Domains) == 0 {
			return d.Err("destination takes domains and a block, as in: destination slow.example { retry 1h }")
		}
		c.Destinations = append(c.Destinations, to)
		return conf.Block(d, timeSettings(&to.RetryTimes)...)
	}))
}

func timeSettings(t *app.RetryTimes) []conf.Setting {
	return []conf.Setting{
		conf.Durations("retry", &t.Retry),
		conf.Value("expire", &t.Expire),
		conf.DurationOr("warn", &t.Warn, "off", -1),
	}
}

func (p *serverParser) journal(d *caddyfile.Dispenser) error {
	if p.app.Journal != nil {
		return d.Errf(ofTheApp, "journal")
	}
	j := new(app.JournalConfig)
	p.app.Journal = j
	if d.CountRemainingArgs() == 1 && d.NextArg() {
		if d.Val() != "off" {
			return d.Errf("journal takes a block, or off; as in: journal { keep 7d }")
		}
		j.Off = true
		return nil
	}
	return conf.Block(d,
		conf.Value("keep", &j.Keep),
		conf.Size("max_size", &j.MaxSize),
		conf.Flag("off", &j.Off),
	)
}

func (p *serverParser) spool(d *caddyfile.Dispenser) (err error) {
	if p.app.SpoolRaw != nil {
		return d.Errf(ofTheApp, "spool")
	}
	if !d.NextArg() {
		return d.Err("spool takes a module, as in: spool file /var/spool/caddy-msa")
	}
	at := place(d)
	p.app.SpoolRaw, err = parseModule(d, "spool", "msa.spools", "module")
	places.Remember(p.app.SpoolRaw, at)
	return err
}
