//go:build linux

package spoolpostgres

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/postgres"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// What waited for the standby for so long that the client was told to come again is taken back when the standby is there again: it was not to be
// seen before.
func TestLateCommitTakenBack(t *testing.T) {
	t.Parallel()
	primary := postgres.Start(t)
	s := open(t, Options{DSN: primary.DSN(), Node: "one", Timeout: bearable, Lease: time.Hour})
	defer s.Close()
	standby := primary.Standby()
	await(t, "a message is accepted", func() bool { return submit(s, "Q1") == nil })
	standby.Kill()
	if err := submit(s, "Q2"); err == nil {
		t.Fatal("accepted without the standby")
	}
	s.tidy()
	if n := primary.Exec(t, "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"); n == 0 {
		t.Skip("its COMMIT does not wait any more")
	}
	standby.Start()
	await(t, "the COMMIT has ended", func() bool {
		return primary.Exec(t, "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'") == 0
	})
	await(t, "what was not accepted is taken back", func() bool { return strings.Join(ids(t, s), " ") == "Q1" })
}

// While what others left cannot be looked after, this node keeps what it has in hand.
func TestRenewsMeanwhile(t *testing.T) {
	t.Parallel()
	srv := postgres.Shared(t)
	s := open(t, Options{DSN: srv.DSN(), Node: "one", Lease: minLease, Timeout: time.Hour})
	defer s.Close()
	c, err := pgx.Connect(context.Background(), srv.DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	tx, err := c.Begin(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	if _, err := tx.Exec(context.Background(), "LOCK TABLE msa.msa_digest IN SHARE MODE"); err != nil {
		t.Fatal(err)
	}
	await(t, "it waits for the lock", func() bool {
		return srv.Exec(t, "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") > 0
	})
	var until time.Time
	if err := c.QueryRow(context.Background(), "SELECT until FROM msa.msa_node").Scan(&until); err != nil {
		t.Fatal(err)
	}
	await(t, "its lease is renewed", func() bool {
		return srv.Exec(t, "SELECT 1 FROM msa.msa_node WHERE until > $1", until.Add(minLease)) > 0
	})
}

// While a claim waits for the standby this node keeps what it has in hand.
func TestRenewsWithoutStandby(t *testing.T) {
	t.Parallel()
	primary := postgres.Start(t)
	s := open(t, Options{DSN: primary.DSN(), Node: "one", Lease: minLease})
	defer s.Close()
	standby := primary.Standby()
	await(t, "a message is accepted", func() bool { return submit(s, "Q1") == nil })
	standby.Kill()
	claimed := make(chan struct{})
	go func() {
		defer close(claimed)
		_, _, _ = s.Lease(context.Background(), time.Now(), queue.Want{})
	}()
	await(t, "the claim waits for the standby", func() bool {
		return primary.Exec(t, "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE '%FROM msa_node%'") > 0
	})
	c := session(t, primary.DSN())
	var until time.Time
	if err := c.QueryRow(context.Background(), "SELECT until FROM msa.msa_node").Scan(&until); err != nil {
		t.Fatal(err)
	}
	await(t, "its lease is renewed", func() bool {
		return primary.Exec(t, "SELECT 1 FROM msa.msa_node WHERE until > $1", until.Add(minLease)) > 0
	})
	standby.Start()
	<-claimed
}
