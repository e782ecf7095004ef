package directive

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa/app"
	"github.com/caddy-msa/caddy-msa/caddymsa/app/gate"
	"github.com/caddy-msa/caddy-msa/caddymsa/app/places"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

// auth reads the auth block: settings, and one line or block a backend.
func (p *serverParser) auth(d *caddyfile.Dispenser) error {
	a := new(app.Auth)
	p.srv.Auth = a
	settings := []conf.Setting{
		conf.List("mechanisms", &a.Mechanisms),
		conf.List("realms", &a.Realms),
		conf.List("digest_hosts", &a.DigestHosts),
		conf.Func("announce_before_tls", func(d *caddyfile.Dispenser) error {
			a.AnnounceBeforeTLS = append([]string{}, d.RemainingArgs()...)
			return nil
		}),
		conf.Value("reauth", &a.Reauth),
		conf.Value("timeout", &a.Timeout),
		conf.Func("throttle", func(d *caddyfile.Dispenser) error { return throttle(d, &a.Throttle) }),
	}
	backend := func(d *caddyfile.Dispenser) (bool, error) {
		at := place(d)
		if err := registered(d, "auth backend or setting", "msa.auth", conf.Names(settings)...); err != nil {
			return true, err
		}
		mod, err := parseModule(d, "auth backend", "msa.auth", "module")
		places.Remember(mod, at)
		a.BackendsRaw = append(a.BackendsRaw, mod)
		return true, err
	}
	return conf.Lines(d, backend, settings...)
}

// throttle reads one of:
//
//	throttle off
//	throttle {
//		failures <n>
//		network_failures <n>
//		window|block|delay <duration>
//		except <network> ...
//		redis <address> { ... }, or spool { ... }: see sharing.Sharing
//	}
func throttle(d *caddyfile.Dispenser, t *gate.Throttle) error {
	if d.CountRemainingArgs() > 0 {
		var word string
		if !d.AllArgs(&word) || word != "off" {
			return d.Err("throttle takes off, or a block")
		}
		t.Off = true
		return nil
	}
	return conf.Block(d, append([]conf.Setting{
		conf.Count("failures", &t.Failures),
		conf.Count("network_failures", &t.NetworkFailures),
		conf.Value("window", &t.Window),
		conf.Value("block", &t.Block),
		conf.Value("delay", &t.Delay),
		conf.List("except", &t.Except),
	}, t.Settings()...)...)
}
