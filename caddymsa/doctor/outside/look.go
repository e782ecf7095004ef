package outside

import (
	"context"
	"crypto/x509"
	"sync"

	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

// look looks at all ports at the same time, at each one thing after the other.
func (t *Target) look(ctx context.Context) []doctor.Finding {
	ports := t.ports()
	var mu sync.Mutex
	shown := make(map[string]*x509.Certificate)
	checks := make([]doctor.Check, len(ports))
	for i, p := range ports {
		checks[i] = doctor.Func(func(ctx context.Context) []doctor.Finding {
			return p.look(ctx, func(leaf *x509.Certificate) {
				mu.Lock()
				defer mu.Unlock()
				shown[p.address] = leaf
			})
		})
	}
	found := doctor.Run(ctx, checks...)
	found = append(found, sameCertificate(shown, ports)...)
	return append(found, t.account(ctx, ports, found)...)
}

// look is at one port.
func (p port) look(ctx context.Context, show func(*x509.Certificate)) (found []doctor.Finding) {
	reached, speaks := p.reach(ctx)
	found = reached.Findings
	if !speaks {
		return found
	}
	shown, leaf := p.certificate(ctx)
	show(leaf)
	found = append(found, shown.Findings...)
	if !p.implicit {
		found = append(found, p.beforeTLS(ctx)...)
	}
	if leaf == nil {
		return found
	}
	found = append(found, p.versions(ctx).Findings...)
	if !p.implicit {
		found = append(found, p.injection(ctx).Findings...)
	}
	found = append(found, p.goesOn(ctx).Findings...)
	found = append(found, p.announced(ctx)...)
	found = append(found, p.strangers(ctx).Findings...)
	return append(found, p.proxied(ctx).Findings...)
}

// account logs in and submits, once: on the first port whose certificate is as it should be. A password goes nowhere else.
func (t *Target) account(ctx context.Context, ports []port, found []doctor.Finding) []doctor.Finding {
	if t.Login == nil && t.Submit == nil {
		return nil
	}
	for _, p := range ports {
		if !p.trusted(found) {
			continue
		}
		var notes []doctor.Finding
		if t.Login != nil {
			n := p.logsIn(ctx)
			notes = n.Findings
			if !n.Clean() {
				return notes
			}
		}
		if t.Submit != nil {
			notes = append(notes, p.submits(ctx).Findings...)
		}
		return notes
	}
	n := doctor.About("login", t.Hostname)
	n.Skip("see the findings on the certificate", "no password is sent: no port shows a certificate that clients accept")
	return n.Findings
}

// trusted tells whether a port was reached and its certificate found good.
func (p port) trusted(found []doctor.Finding) bool {
	seen := false
	for _, f := range found {
		if f.Subject != p.address || f.Check != "certificate" && f.Check != "ports" {
			continue
		}
		if f.Level == doctor.Wrong {
			return false
		}
		seen = seen || f.Check == "certificate"
	}
	return seen
}

// Whose says who answers at the ports, and no more.
func (t *Target) Whose(ctx context.Context) (found []doctor.Finding) {
	t.defaults()
	for _, p := range t.ports() {
		n, speaks := p.reach(ctx)
		if speaks && n.Clean() {
			n.Findings = nil
			n.Wrong("if it is this one, name its admin API with --address; else stop it (systemctl disable --now postfix, for one) before Caddy starts, or give caddy-msa another address with listen",
				"a mail server answers there, of which nothing else is known%s", listener(p.address))
		}
		found = append(found, n.Findings...)
	}
	return found
}
