package app

import (
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// mechanisms that the server knows, in the order announced by default, and what a
// backend needs to serve each.
var mechanisms = []struct {
	name  string
	needs caddymsa.Capability
	early bool // may be announced before TLS
}{
	{sasl.External, caddymsa.CapCertificate, true},
	{sasl.SCRAMSHA256Plus, caddymsa.CapSCRAM, true},
	{sasl.SCRAMSHA256, caddymsa.CapSCRAM, true},
	{sasl.DigestMD5, caddymsa.CapDigest, true},
	{sasl.Plain, caddymsa.CapPassword, false},
	{sasl.Login, caddymsa.CapPassword, false},
	{sasl.OAuthBearer, caddymsa.CapToken, false},
	{sasl.XOAuth2, caddymsa.CapToken, false},
}

// as returns the backend as T, if it serves that.
func as[T any](b *backend, c caddymsa.Capability) (module T, ok bool) {
	if s, selective := b.module.(caddymsa.Selective); selective && !s.Serves(c) {
		return module, false
	}
	module, ok = b.module.(T)
	return module, ok
}

// can tells whether the backend serves what the capability stands for.
func (b *backend) can(c caddymsa.Capability) (ok bool) {
	switch c {
	case caddymsa.CapPassword:
		_, ok = as[caddymsa.PasswordVerifier](b, c)
	case caddymsa.CapDigest:
		_, ok = as[caddymsa.DigestStore](b, c)
	case caddymsa.CapSCRAM:
		_, ok = as[caddymsa.SCRAMStore](b, c)
	case caddymsa.CapToken:
		_, ok = as[caddymsa.TokenVerifier](b, c)
	case caddymsa.CapCertificate:
		_, ok = as[caddymsa.CertificateMapper](b, c)
	}
	return ok
}

// proxies tells whether the backend has whole exchanges of the mechanism decided elsewhere.
func (b *backend) proxies(mechanism string) (caddymsa.MechanismProxy, bool) {
	p, ok := as[caddymsa.MechanismProxy](b, caddymsa.CapProxy)
	if !ok || !slices.Contains(p.ProxiedMechanisms(), mechanism) {
		return nil, false
	}
	return p, true
}

// chooseMechanisms offers what was asked for, or all that can be served.
func (a *Auth) chooseMechanisms() error {
	for i, name := range a.Mechanisms {
		a.Mechanisms[i] = strings.ToUpper(name)
	}
	known := make(map[string]bool)
	for _, m := range mechanisms {
		known[m.name] = true
		served, err := a.served(m.name, m.needs)
		switch {
		case err != nil:
			return err
		case len(a.Mechanisms) == 0 && served:
			a.offered = append(a.offered, m.name)
		case slices.Contains(a.Mechanisms, m.name) && !served:
			return fmt.Errorf("mechanism %s: no backend can serve it; backends: %s", m.name, a.describeBackends())
		}
	}
	for _, name := range a.Mechanisms {
		if !known[name] {
			return fmt.Errorf("mechanism %s: is not known; use some of %s", name, strings.Join(allMechanisms(), ", "))
		}
		if slices.Contains(a.offered, name) {
			return fmt.Errorf("mechanism %s: is specified twice", name)
		}
		a.offered = append(a.offered, name)
	}
	if len(a.offered) == 0 {
		return fmt.Errorf("no backend can serve a mechanism; backends: %s", a.describeBackends())
	}
	return nil
}

// served tells whether any backend serves the mechanism. One that proxies it must be
// the only one: an exchange has one partner.
func (a *Auth) served(mechanism string, needs caddymsa.Capability) (bool, error) {
	var proxy string
	var all []string
	for _, b := range a.backends {
		if _, ok := b.proxies(mechanism); ok {
			proxy = b.id
		} else if !b.can(needs) {
			continue
		}
		all = append(all, b.id)
	}
	wanted := len(a.Mechanisms) == 0 || slices.Contains(a.Mechanisms, mechanism)
	if proxy != "" && len(all) > 1 && wanted {
		return false, fmt.Errorf("mechanism %s: backend %s hands it on whole, so it must be the only backend for it, and there are %s; leave the mechanism out or remove the others",
			mechanism, proxy, strings.Join(all, ", "))
	}
	return len(all) > 0, nil
}

func allMechanisms() (names []string) {
	for _, m := range mechanisms {
		names = append(names, m.name)
	}
	return names
}

// describeBackends is for errors: "file (scram, digest, password)".
func (a *Auth) describeBackends() string {
	var all []string
	for _, b := range a.backends {
		var can []string
		for _, c := range []caddymsa.Capability{caddymsa.CapCertificate, caddymsa.CapSCRAM, caddymsa.CapDigest, caddymsa.CapPassword, caddymsa.CapToken} {
			if b.can(c) {
				can = append(can, string(c))
			}
		}
		if p, ok := as[caddymsa.MechanismProxy](b, caddymsa.CapProxy); ok {
			can = append(can, p.ProxiedMechanisms()...)
		}
		all = append(all, fmt.Sprintf("%s (%s)", b.id, strings.Join(can, ", ")))
	}
	return strings.Join(all, ", ")
}

func (a *Auth) checkAnnounced() error {
	for i, name := range a.AnnounceBeforeTLS {
		name = strings.ToUpper(name)
		a.AnnounceBeforeTLS[i] = name
		for _, m := range mechanisms {
			if m.name == name && !m.early {
				return fmt.Errorf("announce_before_tls: %s would invite clients to send passwords in clear text; leave it out", name)
			}
		}
		if !slices.Contains(a.offered, name) {
			return fmt.Errorf("announce_before_tls: %s is not among the mechanisms: %s", name, strings.Join(a.offered, ", "))
		}
	}
	return nil
}

func (a *Auth) announceBeforeTLS() []string {
	if a.AnnounceBeforeTLS == nil && slices.Contains(a.offered, sasl.DigestMD5) {
		return []string{sasl.DigestMD5}
	}
	return a.AnnounceBeforeTLS
}
