package spoolpostgres

import (
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/postgres"
)

// A database that forgets, or is away, is named, with a remedy.
func TestExamine(t *testing.T) {
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
		if len(found) != 1 || found[0].Level != level || !strings.Contains(found[0].Text, text) || level != doctor.OK && found[0].Remedy == "" {
			t.Errorf("%+v, not %s: %s", found, level, text)
		}
	}
	if found := p.Examine(t.Context(), caddymsa.Examination{}); len(found) != 1 || found[0].Level == doctor.Wrong { // how long it takes is the machine's
		t.Errorf("%+v", found)
	}
	srv.Exec(t, "ALTER ROLE msa SET synchronous_commit = off")
	want(doctor.Wrong, "synchronous_commit is off")
	srv.Kill()
	want(doctor.Wrong, "cannot be reached")
}
