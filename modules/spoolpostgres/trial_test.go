//go:build linux

package spoolpostgres

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/postgres"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// try asks as a balancer does, who waits for seconds at most.
func (s *Store) try(t *testing.T) error {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	return s.TryCommit(ctx)
}

// A database that answers questions and takes no message is not one that messages can be accepted with: its standby is away, its disk is full, or
// the directory for drafts is. However often it is asked, no more than one connection waits for it.
func TestTryCommit(t *testing.T) {
	primary := postgres.Start(t)
	standby := primary.Standby()
	s := open(t, Options{DSN: primary.DSN(), Node: "one", Timeout: time.Minute})
	defer s.Close()
	well := func() bool { return s.try(t) == nil }
	await(t, "that all is well", well)
	standby.Kill()
	for range 3 {
		if err := s.try(t); err == nil {
			t.Error("the standby is away, and all is well")
		}
		if _, _, err := s.Size(t.Context()); err != nil {
			t.Error(err)
		}
	}
	await(t, "that one connection waits", func() bool {
		return primary.Exec(t, "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE '%msa_sum%'") == 1
	})
	standby.Start()
	await(t, "that it is back", well)

	primary.Exec(t, `CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE disk_full; END $$`)
	primary.Exec(t, "CREATE TRIGGER full_disk BEFORE INSERT ON msa.msa_entry FOR EACH ROW EXECUTE FUNCTION full_disk()")
	if err := submit(s, "Q1"); !errors.Is(err, queue.ErrFull) {
		t.Errorf("a full disk: %v", err)
	}
	await(t, "that the balancer hears of a full disk", func() bool { return errors.Is(s.try(t), queue.ErrFull) })
	primary.Exec(t, "DROP TRIGGER full_disk ON msa.msa_entry")
	if err := submit(s, "Q1"); err != nil {
		t.Error(err)
	}
	await(t, "that there is room again", well)

	before := t.TempDir()
	t.Setenv("TMPDIR", before+"/none")
	if err := s.try(t); err == nil {
		t.Error("no draft can be written, and all is well")
	}
	t.Setenv("TMPDIR", before)

	primary.Signal(syscall.SIGSTOP)
	if err := s.try(t); err == nil {
		t.Error("the database says nothing, and all is well")
	}
	primary.Signal(syscall.SIGCONT)
	await(t, "that it says something", well)
	primary.Stop()
	if err := s.try(t); err == nil {
		t.Error("the database is away, and all is well")
	}
}
