package app

import (
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
)

// auth reads the auth block: settings, and one line or block a backend.
func (p *serverParser) auth(d *caddyfile.Dispenser) error {
	if p.srv.Auth != nil {
		return d.Err("auth stands twice; put all backends into one block, in the order in which they are asked")
	}
	a := new(Auth)
	p.srv.Auth = a
	return block(d, func(name string) (err error) {
		switch name {
		case "mechanisms":
			return appendArgs(d, &a.Mechanisms)
		case "realms":
			return appendArgs(d, &a.Realms)
		case "digest_hosts":
			return appendArgs(d, &a.DigestHosts)
		case "announce_before_tls":
			a.AnnounceBeforeTLS = append([]string{}, d.RemainingArgs()...)
			return nil
		case "reauth":
			return duration(d, &a.Reauth)
		case "timeout":
			return duration(d, &a.Timeout)
		case "throttle":
			return a.Throttle.unmarshal(d)
		}
		mod, err := parseModule(d, "msa.auth", "module")
		a.BackendsRaw = append(a.BackendsRaw, mod)
		return err
	})
}

// unmarshal reads one of:
//
//	throttle off
//	throttle {
//		failures <n>
//		network_failures <n>
//		window|block|delay <duration>
//		except <network> ...
//	}
func (t *Throttle) unmarshal(d *caddyfile.Dispenser) error {
	if d.CountRemainingArgs() > 0 {
		var word string
		if !d.AllArgs(&word) || word != "off" {
			return d.Err("throttle takes off, or a block")
		}
		t.Off = true
		return nil
	}
	return block(d, func(name string) error {
		switch name {
		case "failures":
			return count(d, &t.Failures)
		case "network_failures":
			return count(d, &t.NetworkFailures)
		case "window":
			return duration(d, &t.Window)
		case "block":
			return duration(d, &t.Block)
		case "delay":
			return duration(d, &t.Delay)
		case "except":
			return appendArgs(d, &t.Except)
		}
		return d.Errf("throttle: unknown setting %q; there are failures, network_failures, window, block, delay and except", name)
	})
}

// tls reads one of:
//
//	tls internal
//	tls <certificate> <key>
//	tls {
//		issuer <module> ...
//		<words of Caddy's connection policies>
//	}
func (p *serverParser) tls(d *caddyfile.Dispenser) error {
	srv := p.srv
	switch args := d.RemainingArgs(); {
	case len(args) == 1 && args[0] == "internal":
		srv.IssuersRaw = append(srv.IssuersRaw, caddyconfig.JSONModuleObject(new(caddytls.InternalIssuer), "module", "internal", nil))
	case len(args) == 2:
		srv.Certificates = append(srv.Certificates, CertificateFiles{Certificate: args[0], Key: args[1]})
	case len(args) != 0:
		return d.Err("tls takes internal, or a certificate and a key, or a block")
	}
	var policy []caddyfile.Token
	first := d.Token()
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if d.Val() != "issuer" {
			policy = append(policy, d.NextSegment()...)
			continue
		}
		if !d.NextArg() {
			return d.Err("issuer takes a module, as in: issuer acme")
		}
		issuer, err := parseModule(d, "tls.issuance", "module")
		if err != nil {
			return err
		}
		srv.IssuersRaw = append(srv.IssuersRaw, issuer)
	}
	if policy == nil {
		return nil
	}
	cp := new(caddytls.ConnectionPolicy)
	if err := cp.UnmarshalCaddyfile(caddyfile.NewDispenser(inBlock(first, policy))); err != nil {
		return err
	}
	srv.TLSConnectionPolicies = append(srv.TLSConnectionPolicies, cp)
	return nil
}

// inBlock puts tokens back into the block of a directive.
func inBlock(directive caddyfile.Token, tokens []caddyfile.Token) []caddyfile.Token {
	open, end := directive, tokens[len(tokens)-1]
	directive.Text, open.Text, end.Text = "tls", "{", "}"
	end.Line++
	all := append([]caddyfile.Token{directive, open}, tokens...)
	return append(all, end)
}
