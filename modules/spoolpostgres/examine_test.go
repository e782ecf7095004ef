package spoolpostgres

import (
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/postgres"
)

// A database that forgets, or is away, is named, with a remedy.
func TestExamine(t *testing.T) {
	t.Parallel()
	srv := postgres.Start(t)
	p := &PostgresSpool{DSN: srv.DSN()}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	if err := p.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	want := func(level doctor.Level, text string) {
		t.Helper()
		found := p.Examine(t.Context(), caddymsa.Examination{})
		if !slices.ContainsFunc(found, func(f doctor.Finding) bool { return f.Level == level && strings.Contains(f.Text, text) }) {
			t.Errorf("%+v, not %s: %s", found, level, text)
		}
		for _, f := range found {
			if (f.Remedy == "") != (f.Level == doctor.OK) {
				t.Errorf("%+v", f)
			}
		}
	}
	want(doctor.Warn, "no synchronous standby")
	srv.Exec(t, "ALTER ROLE msa SET synchronous_commit = off")
	want(doctor.Wrong, "synchronous_commit is off")
	srv.Exec(t, "ALTER ROLE msa RESET synchronous_commit")
	srv.Standby()
	want(doctor.OK, "a synchronous standby")
	srv.Exec(t, "ALTER ROLE msa SET synchronous_commit = local")
	want(doctor.Warn, "synchronous_commit is local")
	srv.Kill()
	want(doctor.Wrong, "cannot be reached")
	srv.Start("fsync=off", "full_page_writes=off")
	want(doctor.Wrong, "fsync is off")
	want(doctor.Warn, "full_page_writes is off")
}

// A primary that waits for a standby which is not there commits nothing.
func TestExamineStandbyGone(t *testing.T) {
	srv := postgres.Start(t)
	p := &PostgresSpool{DSN: srv.DSN()}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	if err := p.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	srv.Kill()
	srv.Start("synchronous_standby_names=elsewhere")
	found := p.Examine(t.Context(), caddymsa.Examination{})
	if !slices.ContainsFunc(found, func(f doctor.Finding) bool {
		return f.Level == doctor.Wrong && strings.Contains(f.Text, "none is connected") && f.Remedy != ""
	}) {
		t.Errorf("%+v", found)
	}
}
