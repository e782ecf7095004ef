//go:build linux

package spoolpostgres

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/postgres"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue/queuetest"
)

// A spool that is named in two ways, by address and by name of its host for example, is not moved into itself: that would end in its being empty.
func TestMoveToItself(t *testing.T) {
	t.Parallel()
	srv := postgres.Shared(t)
	one, two := open(t, Options{DSN: srv.DSN(), Node: "one"}), open(t, Options{DSN: srv.DSN(), Node: "two"})
	defer one.Close()
	defer two.Close()
	if err := submit(one, "Q1"); err != nil {
		t.Fatal(err)
	}
	from, to := queue.Place{Name: "postgres:localhost", Spool: one}, queue.Place{Name: "postgres:127.0.0.1", Spool: two}
	for _, move := range []func(context.Context, queue.Place, queue.Place, queue.Mover) error{queue.Move, queue.CancelMove} {
		if err := move(t.Context(), from, to, func(string, error) {}); err == nil || !strings.Contains(err.Error(), "the same") {
			t.Errorf("moved to itself: %v", err)
		}
	}
	if m, err := one.Get(t.Context(), "Q1"); err != nil || m.Status.Held != "" {
		t.Errorf("%+v, %v", m, err)
	}
	// Another schema of the same database is another spool.
	other := open(t, Options{DSN: srv.DSN(), Node: "one", Schema: "other"})
	defer other.Close()
	if err := queue.Move(t.Context(), from, queue.Place{Name: "postgres:other", Spool: other}, func(string, error) {}); err != nil {
		t.Error(err)
	}
	if got := append(ids(t, one), ids(t, other)...); !slices.Equal(got, []string{"Q1"}) {
		t.Errorf("%q", got)
	}
}

// What is moved here and may or may not have been committed is not taken back as a client's message is: the move goes on
// with it, and by then it is the only one.
func TestMoveUncertain(t *testing.T) {
	t.Parallel()
	srv := postgres.Shared(t)
	p := newProxy(t, srv)
	armed := p.uncertain('a')
	_ = open(t, Options{DSN: srv.DSN(), Node: "one", Timeout: time.Minute}).Close() // the tables are there
	s := open(t, Options{DSN: p.dsn(), Node: "one", Lease: 6 * time.Second, Timeout: bearable, Role: Deliver})
	defer s.Close()
	old := queuetest.NewMemSpool()
	a := accept("Q1")
	d, err := old.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Commit(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	move := func() error {
		return queue.Move(t.Context(), queue.Place{Name: "old", Spool: old}, queue.Place{Name: "new", Spool: s}, func(_ string, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	armed.Store(true)
	if err := move(); err == nil {
		t.Error("moved, and nobody knows")
	}
	s.mu.Lock()
	if len(s.disowned) > 0 {
		t.Errorf("%q is to be deleted", s.disowned)
	}
	s.mu.Unlock()
	p.set(false)
	await(t, "the move goes on", func() bool { return move() == nil })
	if m, err := s.Get(t.Context(), "Q1"); err != nil || m.Status.Held != "" {
		t.Errorf("%+v, %v", m, err)
	}
}
