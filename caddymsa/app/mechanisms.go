package app

import (
	"fmt"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// mechanism is one that the server knows.
type mechanism struct {
	name  string
	needs caddymsa.Capability // of a backend
	early bool                // may be announced before TLS
	usual bool                // is offered without being listed
}

// mechanisms are in the order announced by default. SCRAM-SHA-256-PLUS has to be listed: clients in
// use pick it, cannot bind it to their TLS connection, and give up.
var mechanisms = []mechanism{
	{sasl.External, caddymsa.CapCertificate, true, true},
	{sasl.SCRAMSHA256Plus, caddymsa.CapSCRAM, true, false},
	{sasl.SCRAMSHA256, caddymsa.CapSCRAM, true, true},
	{sasl.DigestMD5, caddymsa.CapDigest, true, true},
	{sasl.Plain, caddymsa.CapPassword, false, true},
	{sasl.Login, caddymsa.CapPassword, false, true},
	{sasl.OAuthBearer, caddymsa.CapToken, false, true},
	{sasl.XOAuth2, caddymsa.CapToken, false, true},
}

// can tells whether the backend serves what the capability stands for.
func (b *backend) can(c caddymsa.Capability) (ok bool) {
	switch c {
	case caddymsa.CapPassword:
		_, ok = caddymsa.As[caddymsa.PasswordVerifier](b.module, c)
	case caddymsa.CapDigest:
		_, ok = caddymsa.As[caddymsa.DigestStore](b.module, c)
	case caddymsa.CapSCRAM:
		_, ok = caddymsa.As[caddymsa.SCRAMStore](b.module, c)
	case caddymsa.CapToken:
		_, ok = caddymsa.As[caddymsa.TokenVerifier](b.module, c)
	case caddymsa.CapCertificate:
		_, ok = caddymsa.As[caddymsa.CertificateMapper](b.module, c)
	}
	return ok
}

// proxies tells whether the backend has whole exchanges of the mechanism decided elsewhere.
func (b *backend) proxies(mechanism string) (caddymsa.MechanismProxy, bool) {
	p, ok := caddymsa.As[caddymsa.MechanismProxy](b.module, caddymsa.CapProxy)
	if !ok || !slices.Contains(p.ProxiedMechanisms(), mechanism) {
		return nil, false
	}
	return p, true
}

// everyUser tells whether all users of the backend can use what the capability stands for, as far as is
// known.
func (b *backend) everyUser(c caddymsa.Capability, realms []string) bool {
	switch {
	case !b.can(c):
		return false
	case c != caddymsa.CapSCRAM && c != caddymsa.CapDigest:
		return true
	}
	if s, ok := b.module.(caddymsa.Surveyor); ok {
		_, without := s.Survey(c, realms)
		return without == 0
	}
	return !b.can(caddymsa.CapPassword)
}

// offered are the mechanisms of this moment: those that are listed, or else those that every user of
// some backend can use. That changes when users do.
func (a *Auth) offered() (names []string) {
	if len(a.Mechanisms) > 0 {
		return a.Mechanisms
	}
	for _, m := range a.servable {
		if slices.ContainsFunc(a.backends, func(b *backend) bool {
			_, proxied := b.proxies(m.name)
			return proxied || b.everyUser(m.needs, a.Realms)
		}) {
			names = append(names, m.name)
		}
	}
	return names
}

// chooseMechanisms checks those that are listed, or finds all that can be served.
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
		case len(a.Mechanisms) == 0 && served && m.usual:
			a.servable = append(a.servable, m)
		case slices.Contains(a.Mechanisms, m.name) && !served:
			return fmt.Errorf("mechanisms: %s: no backend can serve it; backends: %s", m.name, a.describeBackends())
		}
	}
	for i, name := range a.Mechanisms {
		if !known[name] {
			return fmt.Errorf("mechanisms: %s is not known%s; use some of %s", name, conf.DidYouMean(name, allMechanisms()), strings.Join(allMechanisms(), ", "))
		}
		if slices.Contains(a.Mechanisms[:i], name) {
			return fmt.Errorf("mechanisms: %s is specified twice", name)
		}
	}
	if len(a.offered()) == 0 {
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
		return false, fmt.Errorf("mechanisms: %s: backend %s hands it on whole, so it must be the only backend for it, and there are %s; leave the mechanism out or remove the others",
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
		if p, ok := caddymsa.As[caddymsa.MechanismProxy](b.module, caddymsa.CapProxy); ok {
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
		if offered := a.offered(); !slices.Contains(offered, name) && !a.followsUsers(name) {
			return fmt.Errorf("announce_before_tls: %s is not among the mechanisms: %s", name, strings.Join(offered, ", "))
		}
	}
	return nil
}

// followsUsers tells whether it is for the users of today to say if the mechanism is offered: what they have stored must not keep a
// configuration from being loaded again.
func (a *Auth) followsUsers(mechanism string) bool {
	for _, m := range a.servable {
		if m.name == mechanism && slices.ContainsFunc(a.backends, func(b *backend) bool {
			_, knows := b.module.(caddymsa.Surveyor)
			return knows && b.can(m.needs)
		}) {
			return true
		}
	}
	return false
}

func (a *Auth) announceBeforeTLS() []string {
	wanted := a.AnnounceBeforeTLS
	if wanted == nil {
		wanted = []string{sasl.DigestMD5}
	}
	offered := a.offered()
	return slices.DeleteFunc(slices.Clone(wanted), func(name string) bool { return !slices.Contains(offered, name) })
}

// tellOfUsers tells, where mechanisms are listed, how many users cannot use which; and where they
// are not, which are not offered for that reason.
func (a *Auth) tellOfUsers(log *zap.Logger) {
	if len(a.Mechanisms) == 0 {
		var kept []string
		for _, m := range a.servable {
			if !slices.Contains(a.offered(), m.name) {
				kept = append(kept, m.name)
			}
		}
		if len(kept) > 0 {
			log.Info("mechanisms are not offered that not every user can use, as far as is known; list them in mechanisms to offer them all the same",
				zap.Strings("mechanisms", kept))
		}
		return
	}
	for _, m := range mechanisms {
		for _, b := range a.backends {
			s, ok := b.module.(caddymsa.Surveyor)
			if !ok || !b.can(m.needs) || !slices.Contains(a.Mechanisms, m.name) {
				continue
			}
			if users, without := s.Survey(m.needs, a.Realms); without > 0 {
				log.Warn("users cannot use a mechanism that is offered, and are refused by clients that pick it; store what it needs (caddy msa user), or take it out of mechanisms",
					zap.String(fieldMechanism, m.name), zap.String(fieldBackend, b.id), zap.Int("users", without), zap.Int("of", users))
			}
		}
	}
}
