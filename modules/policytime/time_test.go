package policytime

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
)

func policy(t testing.TB, p *TimeWindow, now string) *TimeWindow {
	t.Helper()
	if err := p.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	at, err := time.ParseInLocation("Mon 2006-01-02 15:04", now, p.zone)
	if err != nil {
		t.Fatal(err)
	}
	p.now = func() time.Time { return at }
	return p
}

func TestWindows(t *testing.T) {
	office := &TimeWindow{Allow: []string{"mon-fri 08:00-18:00", "sat 10:00-12:00"}, Deny: []string{"12:00-12:30"}, Timezone: "Europe/Amsterdam"}
	night := &TimeWindow{Allow: []string{"fri-sun 22:00-06:00"}}
	never := &TimeWindow{Deny: []string{"mon-sun"}}
	for _, tt := range []struct {
		p    *TimeWindow
		at   string
		rule string
		back string
	}{
		{office, "Mon 2026-11-23 08:00", "", ""},
		{office, "Mon 2026-11-23 07:59", "allow", "Mon 23 Nov 08:00 CET"},
		{office, "Mon 2026-11-23 17:59", "", ""},
		{office, "Mon 2026-11-23 18:00", "allow", "Tue 24 Nov 08:00 CET"},
		{office, "Mon 2026-11-23 12:00", "deny", "Mon 23 Nov 12:30 CET"},
		{office, "Sat 2026-11-28 11:00", "", ""},
		{office, "Sat 2026-11-28 12:00", "deny", "Mon 30 Nov 08:00 CET"},
		{office, "Sun 2026-11-29 11:00", "allow", "Mon 30 Nov 08:00 CET"},
		{night, "Fri 2026-11-27 22:00", "", ""},
		{night, "Sat 2026-11-28 05:59", "", ""},
		{night, "Sat 2026-11-28 06:00", "allow", "Sat 28 Nov 22:00 UTC"},
		{night, "Fri 2026-11-27 05:00", "allow", "Fri 27 Nov 22:00 UTC"}, // Thursday's night is none
		{night, "Mon 2026-11-23 05:00", "", ""},                          // Sunday's lasts into Monday
		{never, "Mon 2026-11-23 05:00", "deny", ""},
		// The hour that is skipped in spring, and the one that comes twice in autumn.
		{&TimeWindow{Allow: []string{"02:30-04:00"}, Timezone: "Europe/Amsterdam"}, "Sun 2026-03-29 01:30", "allow", "Sun 29 Mar 03:00 CEST"},
		{&TimeWindow{Deny: []string{"sun 02:00-03:00"}, Timezone: "Europe/Amsterdam"}, "Sun 2026-10-25 02:15", "deny", "Sun 25 Oct 03:00 CET"},
	} {
		p := policy(t, &TimeWindow{Allow: tt.p.Allow, Deny: tt.p.Deny, Timezone: tt.p.Timezone}, tt.at)
		err := p.CheckSender(context.Background(), msatest.NewSubmission("alice", ""))
		r, refused := errors.AsType[*caddymsa.Refusal](err)
		switch {
		case tt.rule == "" && err != nil:
			t.Errorf("%v at %s: %v", tt.p.Allow, tt.at, err)
		case tt.rule != "" && (!refused || r.Rule != tt.rule || r.Code != 450 || tt.back != "" && !strings.HasSuffix(r.Text, "come back "+tt.back) || tt.back == "" && strings.Contains(r.Text, "back")):
			t.Errorf("%v at %s: %v", tt.p.Allow, tt.at, err)
		}
	}
}

func TestConformance(t *testing.T) {
	msatest.Policy(t, func(t testing.TB) any {
		return policy(t, &TimeWindow{Allow: []string{"mon"}}, "Mon 2026-11-23 08:00")
	}, msatest.PolicyCase{Name: "open"})
	msatest.Policy(t, func(t testing.TB) any {
		return policy(t, &TimeWindow{Allow: []string{"tue"}, Reject: true}, "Mon 2026-11-23 08:00")
	}, msatest.PolicyCase{Name: "closed", Code: 550, Status: smtp.EnhancedCode{5, 7, 1}, Rule: "allow"})
}

func TestBadConfig(t *testing.T) {
	for _, p := range []*TimeWindow{
		{}, {Allow: []string{"mon"}, Timezone: "Mars/Olympus"}, {Allow: []string{""}}, {Deny: []string{"monday"}}, {Allow: []string{"mon 8:00-18:00"}}, {Allow: []string{"08:00-24:01"}},
		{Allow: []string{"08:00"}}, {Allow: []string{"08:00-08:00"}}, {Allow: []string{"08:00-18:00 mon"}}, {Allow: []string{"mon tue"}}, {Allow: []string{"08:60-09:00"}}, {Allow: []string{"24:00-08:00"}},
	} {
		if err := p.Provision(caddy.Context{}); err == nil {
			t.Errorf("%+v: no error", p)
		}
	}
}

func FuzzWindow(f *testing.F) {
	for _, s := range []string{"mon-fri 08:00-18:00", "sat,sun 10:00-14:00", "fri-mon", "22:00-06:00", "00:00-24:00", " ", "-", ","} {
		f.Add(s)
	}
	at := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, s string) {
		w, err := parseWindow(s)
		if err != nil {
			return
		}
		open := 0
		for m := range 7 * day {
			if w.has(at.Add(time.Duration(m) * time.Minute)) {
				open++
			}
		}
		if open == 0 {
			t.Errorf("%q is never open", s)
		}
	})
}
