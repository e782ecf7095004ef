package directive

import (
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa/app"
	"github.com/caddy-msa/caddy-msa/caddymsa/app/places"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

// notify reads what stands behind notify:
//
//	[@<name>] <notifier> ... {
//		name        <name>
//		on          <events...>
//		match       @<name> | <matcher> ... | { <matcher> ... }
//		concurrency <count>
//		# the rest is the notifier's
//	}
func (p *serverParser) notify(d *caddyfile.Dispenser) error {
	at := place(d)
	c := new(app.NotifyConfig)
	p.srv.Notify = append(p.srv.Notify, c)
	var err error
	if c.MatcherSetsRaw, err = p.matcherAndModule(d, "webhook https://hooks.example.org/mail", nil); err != nil {
		return err
	}
	notifier, ours, err := splitBlock(d.NextSegment(), "name", "on", "match", "concurrency")
	if err != nil {
		return err
	}
	if err := block(ours,
		conf.Text("name", &c.Name),
		conf.List("on", &c.On),
		conf.Func("match", func(d *caddyfile.Dispenser) error { return p.notifyMatch(d, c) }),
		conf.Count("concurrency", &c.Concurrency),
	); err != nil {
		return err
	}
	nd := caddyfile.NewDispenser(notifier)
	nd.Next()
	c.NotifierRaw, err = parseModule(nd, "notifier", "msa.notifiers", "module")
	places.Remember(c.NotifierRaw, at)
	return err
}

// notifyMatch reads which events are told: a matcher that has a name, or one of its own.
func (p *serverParser) notifyMatch(d *caddyfile.Dispenser, c *app.NotifyConfig) error {
	if c.MatcherSetsRaw != nil {
		return d.Err("match is specified twice: there is a matcher before the notifier's name")
	}
	at := place(d)
	if d.CountRemainingArgs() == 1 && d.NextArg() {
		if name := d.Val(); strings.HasPrefix(name, "@") {
			var defined bool
			if c.MatcherSetsRaw, defined = p.matchers[name]; !defined {
				return d.Errf("matcher %s is not defined in this msa block%s", name, conf.DidYouMean(name, p.matcherNames()))
			}
			return nil
		}
		d.Prev()
	}
	set, err := parseMatcherSet(d)
	if err != nil {
		return err
	}
	places.Remember(caddyconfig.JSON(set, nil), at)
	c.MatcherSetsRaw = []caddy.ModuleMap{set}
	return nil
}
