package outside

import (
	"context"
	"crypto/x509"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

// look looks at all ports at the same time, at each one thing after the other, for as long as there is time.
func (t *Target) look(ctx context.Context) []doctor.Finding {
	ctx, cancel := context.WithTimeout(ctx, t.Limit)
	defer cancel()
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

// over tells whether the time is: a dial that ends by it can end before its context says so.
func over(ctx context.Context) bool {
	at, bounded := ctx.Deadline()
	return ctx.Err() != nil || bounded && !time.Now().Before(at)
}

// step is a part of the look at a port, with the checks that it is about.
type step struct {
	checks  string
	inClear bool // only of a port where TLS begins with STARTTLS
	within  bool // only where TLS comes about
	run     func(context.Context) []doctor.Finding
}

// look is at one port.
func (p port) look(ctx context.Context, show func(*x509.Certificate)) (found []doctor.Finding) {
	var reached, secure bool
	steps := []step{
		{"ports", false, false, func(ctx context.Context) []doctor.Finding {
			n, speaks := p.reach(ctx)
			reached = speaks
			return n.Findings
		}},
		{"certificate", false, false, func(ctx context.Context) []doctor.Finding {
			n, leaf := p.certificate(ctx)
			secure = leaf != nil
			show(leaf)
			return n.Findings
		}},
		{"R-04, R-05", true, false, p.beforeTLS},
		{"tls", false, true, noted(p.versions)},
		{"R-06", true, true, noted(p.injection)},
		{"R-07", false, true, noted(p.goesOn)},
		{"R-08, R-09", false, true, p.announced},
		{"R-10", false, true, noted(p.strangers)},
		{"proxies", true, true, noted(p.proxied)},
	}
	steps = slices.DeleteFunc(steps, func(s step) bool { return p.implicit && s.inClear })
	for i, s := range steps {
		if s.within && !secure {
			continue
		}
		more := s.run(ctx)
		if over(ctx) { // what was found in a conversation that was cut off says nothing of the server
			return append(found, p.late(steps[i:])...)
		}
		if found = append(found, more...); !reached {
			return found
		}
	}
	return found
}

func noted(check func(context.Context) *doctor.Notes) func(context.Context) []doctor.Finding {
	return func(ctx context.Context) []doctor.Finding { return check(ctx).Findings }
}

// late names what there was no time for.
func (p port) late(steps []step) []doctor.Finding {
	var checks []string
	for _, s := range steps {
		checks = append(checks, s.checks)
	}
	n := p.about("ports")
	n.Wrong(longer, "it is too slow: not looked at within %s: %s", p.Limit, strings.Join(checks, ", "))
	return n.Findings
}

const longer = "give it longer (caddy msa doctor --timeout 5m); if clients wait as long, see why: the host's load, name servers that do not answer it, pauses before the greeting, the network between"

// account logs in and submits, once: on the first port whose certificate is as it should be. A password goes nowhere else.
func (t *Target) account(ctx context.Context, ports []port, found []doctor.Finding) []doctor.Finding {
	if t.Login == nil && t.Submit == nil {
		return nil
	}
	n := doctor.About("login", t.Hostname)
	if over(ctx) {
		n.Skip(longer, "not tried within %s: login and submission", t.Limit)
		return n.Findings
	}
	for _, p := range ports {
		if p.trusted(found) {
			return p.account(ctx)
		}
	}
	n.Skip("see the findings on ports and certificate", "no password is sent: no port shows a certificate that clients accept")
	return n.Findings
}

// account is of the port that is trusted with the password.
func (p port) account(ctx context.Context) (found []doctor.Finding) {
	if p.Login != nil {
		n := p.logsIn(ctx)
		if over(ctx) {
			n = p.about("login")
			n.Wrong(longer, "it is too slow: the login was not complete within %s", p.Limit)
		}
		if found = n.Findings; !n.Clean() {
			return found
		}
	}
	if p.Submit != nil {
		n := p.submits(ctx)
		if over(ctx) {
			n = p.about("submission")
			n.Wrong(longer, "it is too slow: the submission was not complete within %s; the message may have been taken", p.Limit)
		}
		found = append(found, n.Findings...)
	}
	return found
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
