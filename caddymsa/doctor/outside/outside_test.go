package outside

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

func run(t *testing.T, target *Target) []doctor.Finding {
	t.Helper()
	target.Hostname, target.Timeout, target.Limit = fakeName, cmp.Or(target.Timeout, time.Minute), 10*time.Minute
	return doctor.Run(t.Context(), target.Checks()...)
}

// A server that does all as it should has nothing that is worth a remedy, and what is right is said too.
func TestHealthy(t *testing.T) {
	a := newAuthority(t)
	config := a.issue(nil)
	starttls, implicit := newFake(config), newFake(config)
	implicit.implicit = true
	starttls.few = 2 // so that what comes next on a connection is one too many
	leaf, _ := x509.ParseCertificate(config.Certificates[0].Certificate[0])
	found := run(t, &Target{StartTLS: []string{starttls.serve(t)}, Implicit: []string{implicit.serve(t)}, Roots: a.pool, Fingerprint: Fingerprint(leaf),
		Login: &Login{"alice", "secret"}, Submit: &Submit{"alice@example.org", "discard@example.org"}, Thorough: true})
	said := make(map[string]bool)
	for _, f := range found {
		said[f.Check] = true
		if f.Level != doctor.OK && f.Check != "login" { // the fake cannot DIGEST-MD5
			t.Errorf("%+v", f)
		}
	}
	for _, check := range []string{"ports", "certificate", "tls", "R-04", "R-05", "R-06", "R-07", "R-08", "R-09", "R-10", "proxies", "login"} {
		if !said[check] {
			t.Errorf("nothing is said of %s", check)
		}
	}
}

// Each fault is named, with a remedy.
func TestFaults(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	good := a.issue(nil)
	old := a.issue(nil)
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS12
	for name, c := range map[string]struct {
		plant func(f *fake)
		check string
		level doctor.Level
		text  string
	}{
		"another server":     {func(f *fake) { f.greeting = "220 mail.example.com ESMTP Postfix" }, "ports", doctor.Wrong, `greets as "mail.example.com"`},
		"not SMTP":           {func(f *fake) { f.greeting = "SSH-2.0-OpenSSH_9.2" }, "ports", doctor.Wrong, "does not speak SMTP"},
		"refuses clients":    {func(f *fake) { f.greeting = "554 5.7.1 Go away" }, "ports", doctor.Wrong, "554 5.7.1 Go away"},
		"hangs up":           {func(f *fake) { f.deaf = true }, "ports", doctor.Wrong, "hangs up before the greeting"},
		"TLS at once":        {func(f *fake) { f.implicit = true }, "ports", doctor.Wrong, "TLS begins with the first octet there"},
		"greeting rewritten": {func(f *fake) { f.greeting = "220 ***************" }, "ports", doctor.Wrong, "a device between"},
		"no ESMTP":           {func(f *fake) { f.greeting = "220 " + fakeName }, "ports", doctor.Warn, "does not say ESMTP"},
		"STARTTLS hidden":    {func(f *fake) { f.ehloClear[3] = "XXXXXXXA" }, "ports", doctor.Wrong, "hides extensions"},
		"STARTTLS missing":   {func(f *fake) { f.ehloClear = f.ehloClear[:3] }, "R-04", doctor.Wrong, "does not offer STARTTLS"},
		"STARTTLS refused":   {func(f *fake) { f.before["STARTTLS"] = "454 4.7.0 TLS not available" }, "certificate", doctor.Wrong, "454 4.7.0"},
		"expired": {func(f *fake) {
			f.config = a.issue(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
		}, "certificate", doctor.Wrong, "has expired"},
		"not valid yet": {func(f *fake) {
			f.config = a.issue(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) })
		}, "certificate", doctor.Wrong, "is valid from"},
		"not renewed": {func(f *fake) {
			f.config = a.issue(func(c *x509.Certificate) {
				c.NotBefore = time.Now().Add(-80 * 24 * time.Hour)
				c.NotAfter = time.Now().Add(5 * 24 * time.Hour)
			})
		}, "certificate", doctor.Warn, "was not renewed yet"},
		"old issuer beside": {func(f *fake) { // clients find the chain without it
			f.config = a.issue(nil)
			old := a.issue(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
			f.config.Certificates[0].Certificate = append(f.config.Certificates[0].Certificate, old.Certificates[0].Certificate[0])
		}, "certificate", doctor.Warn, "that comes with it"},
		"another name": {func(f *fake) {
			f.config = a.issue(func(c *x509.Certificate) { c.DNSNames = []string{"www.example.org"} })
		}, "certificate", doctor.Wrong, "but for www.example.org"},
		"common name only":             {func(f *fake) { f.config = a.issue(func(c *x509.Certificate) { c.DNSNames = nil }) }, "certificate", doctor.Wrong, "no names but a common name"},
		"unknown CA":                   {func(f *fake) { f.config = newAuthority(t).issue(nil) }, "certificate", doctor.Wrong, "no chain leads from it"},
		"TLS 1.0":                      {func(f *fake) { f.config = old }, "tls", doctor.Wrong, "it speaks TLS 1.1"},
		"NOOP refused":                 {func(f *fake) { f.before["NOOP"] = "500 5.5.1 No" }, "R-04", doctor.Wrong, "NOOP before TLS"},
		"HELO before TLS":              {func(f *fake) { f.before["HELO"] = "250 Hello" }, "R-05", doctor.Warn, "taken before TLS, where 530 is expected: HELO (250)"},
		"AUTH before TLS":              {func(f *fake) { f.before["AUTH"] = "334 " }, "R-05", doctor.Wrong, "a password would go in clear"},
		"MAIL before TLS":              {func(f *fake) { f.before["MAIL"] = "250 Ok" }, "R-05", doctor.Wrong, "a message would go in clear"},
		"DATA before TLS":              {func(f *fake) { f.before["DATA"] = "354 Go on" }, "R-05", doctor.Wrong, "DATA before TLS is taken"},
		"VRFY before TLS":              {func(f *fake) { f.before["VRFY"] = "250 <postmaster@example.org>" }, "R-05", doctor.Wrong, "addresses would be told"},
		"another code":                 {func(f *fake) { f.before["RSET"] = "503 5.5.1 No" }, "R-05", doctor.Warn, "refused before TLS, but not with 530: RSET (503)"},
		"hangs up on a word":           {func(f *fake) { f.before["XDOCTOR"] = "close" }, "R-05", doctor.Warn, "these end the connection before TLS, where 530 is expected and more commands after it: an unknown word"},
		"BDAT's octets are executed":   {func(f *fake) { f.readsAhead = true }, "R-05", doctor.Warn, "more than one command"},
		"endless commands":             {func(*fake) {}, "R-05", doctor.Warn, "goes on after 40 commands"},
		"endless lines":                {func(f *fake) { f.patient = true }, "R-05", doctor.Warn, "goes on after a line of more than 81920 octets"},
		"injection":                    {func(f *fake) { f.executes = true }, "R-06", doctor.Wrong, "CVE-2011-0411"},
		"injection in clear":           {func(f *fake) { f.clearly = true }, "R-06", doctor.Wrong, "executed"},
		"in clear after the handshake": {func(f *fake) { f.goesOn = true }, "R-06", doctor.Wrong, "goes on in clear"},
		"silent after the handshake":   {func(f *fake) { f.stays = true }, "R-06", doctor.Warn, "does not end the connection"},
		"EHLO again":                   {func(f *fake) { f.within["AUTH"] = "503 5.5.1 EHLO first" }, "R-07", doctor.Warn, "with no second EHLO, is refused"},
		"PLAIN announced in clear":     {func(f *fake) { f.ehloClear[5] = "AUTH PLAIN LOGIN" }, "R-08", doctor.Wrong, "passwords in clear"},
		"small messages":               {func(f *fake) { f.ehlo[2] = "SIZE 10485760" }, "R-08", doctor.Warn, "limited to 10485760"},
		"no SIZE":                      {func(f *fake) { f.ehlo[2] = "DSN" }, "R-08", doctor.Warn, "does not announce SIZE"},
		"no PIPELINING":                {func(f *fake) { f.ehlo[1] = "DSN" }, "R-08", doctor.Warn, "does not announce PIPELINING"},
		"no AUTH":                      {func(f *fake) { f.ehlo = f.ehlo[:4] }, "R-09", doctor.Wrong, "nobody can log in"},
		"no DIGEST-MD5":                {func(f *fake) { f.ehlo[4] = "AUTH PLAIN LOGIN" }, "R-09", doctor.Warn, "not DIGEST-MD5"},
		"open relay":                   {func(f *fake) { f.within["MAIL"], f.within["RCPT"] = "250 Ok", "250 Ok" }, "R-10", doctor.Wrong, "messages of anybody"},
		"MAIL of strangers":            {func(f *fake) { f.within["MAIL"], f.within["RCPT"] = "250 Ok", "554 5.7.1 Relay access denied" }, "R-10", doctor.Warn, "though RCPT is refused"},
		"PROXY believed":               {func(f *fake) { f.proxy = true }, "proxies", doctor.Warn, "can pretend to be any client"},
		"wrong password":               {func(f *fake) { f.ehlo[4], f.password = "AUTH PLAIN LOGIN", "another" }, "login", doctor.Wrong, "cannot log in with PLAIN"},
		"no digest":                    {func(*fake) {}, "login", doctor.Wrong, "cannot log in with DIGEST-MD5"},
		"blocked":                      {func(f *fake) { f.within["AUTH"] = "421 4.7.0 Too many failures" }, "login", doctor.Wrong, "this address is blocked"},
		"directory down":               {func(f *fake) { f.within["AUTH"] = "454 4.7.0 Cannot tell" }, "login", doctor.Wrong, "at the moment"},
		"no route":                     {func(f *fake) { f.ehlo[4], f.within["RCPT"] = "AUTH PLAIN LOGIN", "550 5.7.1 No" }, "submission", doctor.Wrong, "the recipient discard@example.org is refused"},
		"sender refused":               {func(f *fake) { f.ehlo[4], f.within["MAIL"] = "AUTH PLAIN LOGIN", "550 5.7.1 No" }, "submission", doctor.Wrong, "the sender alice@example.org is refused"},
		"spool full":                   {func(f *fake) { f.ehlo[4], f.within["DATA"] = "AUTH PLAIN LOGIN", "452 4.3.1 Full" }, "submission", doctor.Wrong, "DATA is refused"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			examine := func(timeout time.Duration) []doctor.Finding {
				f := newFake(good)
				c.plant(f)
				return run(t, &Target{Timeout: timeout, StartTLS: []string{f.serve(t)}, Roots: a.pool, Thorough: strings.HasPrefix(name, "endless"), Login: &Login{"alice", "secret"}, Submit: &Submit{"alice@example.org", "discard@example.org"}})
			}
			var found []doctor.Finding
			if name == "silent after the handshake" || name == "TLS at once" { // then it is waited for
				found = inVain(examine, c.check, c.level, c.text)
			} else {
				found = examine(0)
			}
			expect(t, found, c.check, c.level, c.text)
		})
	}
}

// inVain examines what never comes, within a brief time-out: where a machine was too busy to find in it what is there, a longer one follows.
func inVain(examine func(timeout time.Duration) []doctor.Finding, check string, level doctor.Level, text string) (found []doctor.Finding) {
	for timeout := 2 * time.Second; timeout <= time.Minute; timeout *= 5 {
		if found = examine(timeout); has(found, check, level, text) {
			break
		}
	}
	return found
}

func has(found []doctor.Finding, check string, level doctor.Level, text string) bool {
	return slices.ContainsFunc(found, func(f doctor.Finding) bool {
		return f.Check == check && f.Level == level && strings.Contains(f.Text, text)
	})
}

// expect finds a finding, which has a remedy as all that are not OK have.
func expect(t *testing.T, found []doctor.Finding, check string, level doctor.Level, text string) {
	t.Helper()
	if !has(found, check, level, text) {
		t.Errorf("no finding of %s, %s: %s\n%s", check, level, text, list(found))
	}
	for _, f := range found {
		if f.Level != doctor.OK && f.Remedy == "" || f.Level == doctor.OK && f.Remedy != "" {
			t.Errorf("%+v", f)
		}
	}
}

func list(found []doctor.Finding) string {
	var b strings.Builder
	for _, f := range found {
		fmt.Fprintf(&b, "%-8s %-12s %s: %s\n", f.Level, f.Check, f.Subject, f.Text)
	}
	return b.String()
}

// What is wrong with the port of implicit TLS, or with one beside the other.
func TestFaultsOfPorts(t *testing.T) {
	a := newAuthority(t)
	good := a.issue(nil)
	for name, c := range map[string]struct {
		target func() *Target
		check  string
		text   string
	}{
		"refused": {func() *Target { return &Target{StartTLS: []string{silentPort(t)}} }, "ports", "connection is refused"},
		"clear":   {func() *Target { return &Target{Implicit: []string{newFake(good).serve(t)}} }, "ports", "answers in clear"},
		"mute": {func() *Target {
			f := newFake(good)
			f.mute = true
			return &Target{StartTLS: []string{f.serve(t)}}
		}, "ports", "does not greet"},
		"self-signed": {func() *Target { return &Target{StartTLS: []string{newFake(own(t, 2048)).serve(t)}} }, "certificate", "signed by itself"},
		"small key":   {func() *Target { return &Target{StartTLS: []string{newFake(own(t, 1024)).serve(t)}} }, "certificate", "1024 bits"},
		"another on each": {func() *Target {
			implicit := newFake(a.issue(nil))
			implicit.implicit = true
			return &Target{StartTLS: []string{newFake(good).serve(t)}, Implicit: []string{implicit.serve(t)}}
		}, "certificate", "another one than on"},
		"not ours": {func() *Target { return &Target{StartTLS: []string{newFake(good).serve(t)}, Fingerprint: "00"} }, "certificate", "somebody else answers"},
		"AUTH before EHLO": {func() *Target {
			f := newFake(good)
			f.implicit = true
			f.within["AUTH"] = "334 "
			return &Target{Implicit: []string{f.serve(t)}}
		}, "R-07", "AUTH before EHLO is not refused with 503"},
		"no TLS 1.3": {func() *Target {
			f := newFake(good.Clone())
			f.config.MaxVersion = tls.VersionTLS12
			return &Target{StartTLS: []string{f.serve(t)}}
		}, "tls", "does not speak TLS 1.3"},
	} {
		t.Run(name, func(t *testing.T) {
			level := doctor.Wrong
			if c.check == "R-07" || c.check == "tls" {
				level = doctor.Warn
			}
			examine := func(timeout time.Duration) []doctor.Finding {
				target := c.target()
				target.Roots, target.Timeout = a.pool, timeout
				return run(t, target)
			}
			var found []doctor.Finding
			if name == "mute" { // then it is waited for
				found = inVain(examine, c.check, level, c.text)
			} else {
				found = examine(0)
			}
			expect(t, found, c.check, level, c.text)
		})
	}
}

// A server without a certificate says so in TLS's own words: the port is right, and the remedy is about the certificate.
func TestNoCertificate(t *testing.T) {
	t.Parallel()
	for _, implicit := range []bool{true, false} {
		f := newFake(&tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, io.EOF }})
		f.implicit = implicit
		target, check := &Target{Ours: true, StartTLS: []string{f.serve(t)}}, "certificate"
		if implicit {
			target, check = &Target{Ours: true, Implicit: target.StartTLS}, "ports"
		}
		found := run(t, target)
		expect(t, found, check, doctor.Wrong, "no TLS: TLS handshake: remote error")
		for _, x := range found {
			if x.Level == doctor.Wrong && !strings.Contains(x.Remedy, "why there is no certificate") {
				t.Errorf("implicit %v: the remedy is %q", implicit, x.Remedy)
			}
		}
	}
}

// A password goes to nobody whose certificate clients do not accept.
func TestPasswordStays(t *testing.T) {
	f := newFake(newAuthority(t).issue(nil))
	f.within["AUTH"] = "235 2.7.0 Thank you"
	found := run(t, &Target{StartTLS: []string{f.serve(t)}, Roots: newAuthority(t).pool, Login: &Login{"alice", "secret"}})
	expect(t, found, "login", doctor.Skipped, "no password is sent")
}

// It ends when it is told to.
func TestContext(t *testing.T) {
	f := newFake(nil)
	f.mute = true
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	target := &Target{StartTLS: []string{f.serve(t)}, Timeout: time.Hour}
	expect(t, doctor.Run(ctx, target.Checks()...), "ports", doctor.Wrong, "")
}

// One that is too slow holds nobody up: what was not looked at is named, and nothing is said of what was cut off.
func TestLimit(t *testing.T) {
	a := newAuthority(t)
	config := a.issue(nil)
	mute, stops := newFake(config), newFake(config)
	mute.mute, mute.implicit = true, true
	target := &Target{Implicit: []string{mute.serve(t)}, Timeout: time.Hour, Limit: 50 * time.Millisecond, Login: &Login{"alice", "secret"}}
	found := doctor.Run(t.Context(), target.Checks()...)
	expect(t, found, "ports", doctor.Wrong, "not looked at within 50ms: ports, certificate, tls, R-07, R-08, R-09, R-10")
	expect(t, found, "login", doctor.Skipped, "login and submission")

	ctx, cancel := context.WithCancel(t.Context())
	stops.heard = func(verb string) {
		if verb == "NOOP" {
			cancel()
		}
	}
	stops.before["NOOP"] = ""
	target = &Target{StartTLS: []string{stops.serve(t)}, Roots: a.pool, Hostname: fakeName, Timeout: time.Hour, Limit: time.Hour}
	found = doctor.Run(ctx, target.Checks()...)
	expect(t, found, "certificate", doctor.OK, "R-03")
	expect(t, found, "ports", doctor.Wrong, ": R-04, R-05, tls, R-06")
	if slices.ContainsFunc(found, func(f doctor.Finding) bool { return f.Check == "R-04" }) {
		t.Errorf("of R-04 nothing is known:\n%s", list(found))
	}
}

// A login that is cut off is no wrong password.
func TestLimitOfLogin(t *testing.T) {
	a := newAuthority(t)
	f := newFake(a.issue(nil))
	f.ehlo[4] = "AUTH PLAIN"
	f.within["AUTH"] = ""
	ctx, cancel := context.WithCancel(t.Context())
	p := port{&Target{Hostname: fakeName, Login: &Login{"alice", "secret"}, Timeout: time.Hour, Limit: time.Hour}, f.serve(t), false}
	p.defaults()
	f.heard = func(verb string) {
		if verb == "AUTH" {
			cancel()
		}
	}
	expect(t, p.account(ctx), "login", doctor.Wrong, "not complete")
}

// A web server has the port: it waits for the client to speak first, so that its greeting is waited for in vain.
func TestWebServer(t *testing.T) {
	t.Parallel()
	web := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	const named = "what answers is a web server"
	found := inVain(func(timeout time.Duration) []doctor.Finding {
		return run(t, &Target{StartTLS: []string{web.Listener.Addr().String()}, Timeout: timeout})
	}, "ports", doctor.Wrong, named)
	expect(t, found, "ports", doctor.Wrong, named)
	if !slices.ContainsFunc(found, func(f doctor.Finding) bool { return strings.Contains(f.Remedy, "another program has the port") }) {
		t.Errorf("%+v", found)
	}
}
