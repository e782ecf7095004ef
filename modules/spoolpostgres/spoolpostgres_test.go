package spoolpostgres

import (
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

func TestProvision(t *testing.T) {
	t.Setenv("SECRET", "geheim")
	const good = "postgres://msa:{env.SECRET}@db.example.org/mail?sslmode=verify-full"
	for _, c := range []struct {
		p    PostgresSpool
		want string // in the error; empty: none
	}{
		{PostgresSpool{DSN: good}, ""},
		{PostgresSpool{DSN: "postgres://msa@db/mail?sslmode=disable", Password: "{env.SECRET}"}, ""},
		{PostgresSpool{}, "connection string is required"},
		{PostgresSpool{DSN: "postgres://msa@db/mail"}, "sslmode=verify-full"},
		{PostgresSpool{DSN: "postgres://msa@db/mail?sslmode=prefer"}, "does not verify"},
		{PostgresSpool{DSN: "postgres://msa@db/mail?sslmode=allow"}, "does not verify"},
		{PostgresSpool{DSN: "postgres://msa@db1,db2/mail?sslmode=verify-full"}, ""},
		{PostgresSpool{DSN: "postgres://msa@db/mail?sslmode=require"}, "does not verify"},
		{PostgresSpool{DSN: "postgres://msa:geheim@db:port/mail?sslmode=disable"}, "cannot be read"},
		{PostgresSpool{DSN: "postgres://msa:geheim@db/mail?sslmode=verify-full&sslrootcert=/nowhere/ca.pem"}, "that cannot be read: no such file"},
		{PostgresSpool{DSN: "postgres://{env.NO_SUCH}@db/mail?sslmode=disable"}, "env.NO_SUCH"},
		{PostgresSpool{DSN: good, Lease: conf.Duration(time.Second)}, "too short"},
		{PostgresSpool{DSN: good, Pool: -1}, "pool"},
		{PostgresSpool{DSN: good, Role: "deliver"}, ""},
		{PostgresSpool{DSN: good, Role: "queue"}, "not one of accept, deliver and both"},
		{PostgresSpool{DSN: good, Timeout: conf.Duration(time.Second)}, "too short"},
		{PostgresSpool{DSN: good, MaxSize: -1}, "max_size"},
	} {
		ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
		err := c.p.Provision(ctx)
		cancel()
		switch {
		case c.want == "" && err != nil, c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, wanted %q", c.p.DSN, err, c.want)
		case err != nil && strings.Contains(err.Error(), "geheim"):
			t.Errorf("the password is in the error: %v", err)
		case err == nil && (!strings.HasPrefix(c.p.Key(), "postgres:db") || !strings.HasSuffix(c.p.Key(), "/mail/msa") || strings.Contains(c.p.Key(), "geheim")):
			t.Errorf("key %s", c.p.Key())
		}
	}
}

func TestCaddyfile(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"postgres postgres://db/msa": true, "postgres": false, "postgres a b": false, "postgres a {\n	role accept\n	timeout 5s\n	max_messages 5\n	max_size 1GiB\n}": true, "postgres a {\n	roles accept\n}": false,
		"postgres a {\n	lease soon\n}": false, "postgres a {\n	pool 4\n	node x\n	schema y\n	lease 1m\n}": true,
	} {
		if err := new(PostgresSpool).UnmarshalCaddyfile(caddyfile.NewTestDispenser(text)); (err == nil) != want {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// A password that the admin API shows is in the log, as a warning that does not have it.
func TestLiteralPassword(t *testing.T) {
	t.Setenv("SECRET", "geheim")
	for dsn, want := range map[string]int{
		"postgres://msa:geheim@db/mail?sslmode=disable":       1,
		"host=db user=msa password=geheim sslmode=disable":    1,
		"postgres://msa:{env.SECRET}@db/mail?sslmode=disable": 0,
		"postgres://msa@db/mail?sslmode=disable":              0,
	} {
		core, logs := observer.New(zap.WarnLevel)
		if err := (&PostgresSpool{DSN: dsn}).resolve(zap.New(core)); err != nil {
			t.Error(err)
		}
		if n := logs.FilterMessage(conf.DatabasePassword).Len(); n != want {
			t.Errorf("%s: %d warnings, want %d", dsn, n, want)
		}
	}
}
