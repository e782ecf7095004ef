//go:build linux

package spoolpostgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/postgres"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func accept(id string) *queue.Accept {
	return &queue.Accept{Entry: &queue.Entry{ID: id, Server: "msa.example.org", Accepted: time.Now(), User: "user" + id[:1],
		Sender: "alice@example.org", Recipients: []queue.Recipient{{Address: "bob@example.net"}}}}
}

func submit(s *Store, id string) error {
	d, err := s.Create(context.Background())
	if err != nil {
		return err
	}
	defer d.Abort()
	if _, err := d.Write([]byte("Subject: " + id + "\r\n\r\nHello\r\n")); err != nil {
		return err
	}
	return d.Commit(context.Background(), accept(id))
}

func ids(t *testing.T, s *Store) (all []string) {
	t.Helper()
	if err := s.List(context.Background(), "", func(m *queue.EntryView) bool { all = append(all, m.Entry.ID); return true }); err != nil {
		t.Fatal(err)
	}
	return all
}

// A connection that breaks at COMMIT, before the server has it or after it has done it, changes
// nothing of what the client is told: accepted once, and recorded once.
func TestCutAtCommit(t *testing.T) {
	t.Parallel()
	srv := postgres.Shared(t)
	p := newProxy(t, srv)
	var next atomic.Int32 // the byte that the next COMMIT gets
	p.onCommit(func() byte { return byte(next.Swap(0)) })
	s := open(t, Options{DSN: p.dsn(), Node: "one"})
	defer s.Close()
	var want []string
	for i := range 30 {
		next.Store(int32([]byte{'b', 'a', 0}[i%3]))
		id := fmt.Sprintf("Q%02d", i)
		if err := submit(s, id); err != nil {
			t.Errorf("%s: %v", id, err)
		}
		if next.Load() != 0 {
			t.Error("no COMMIT went by")
		}
		want = append(want, id)
	}
	if got := ids(t, s); !slices.Equal(got, want) {
		t.Errorf("%q, wanted %q", got, want)
	}
	for i := range 30 {
		l, _, err := s.Lease(context.Background(), time.Now(), queue.Want{})
		if err != nil {
			t.Fatal(err)
		}
		next.Store(int32([]byte{'b', 'a', 0}[i%3]))
		j := l.Job().Clone()
		j.Recipients[0].State = queue.Delivered
		if err := l.Record(context.Background(), &queue.Record{At: time.Now(), Jobs: []queue.Job{*j}}); err != nil {
			t.Errorf("record %d: %v", i, err)
		}
	}
	if got := ids(t, s); len(got) != 0 {
		t.Errorf("%q are left", got)
	}
	if n, octets, err := s.Size(context.Background()); n != 0 || octets != 0 || err != nil {
		t.Error(n, octets, err)
	}
}

// What nobody can tell is not accepted, and if it was committed all the same it is taken back.
func TestUncertain(t *testing.T) {
	t.Parallel()
	srv := postgres.Shared(t)
	p := newProxy(t, srv)
	armed := p.uncertain('a')
	s := open(t, Options{DSN: p.dsn(), Node: "one", Lease: 2 * time.Second, Timeout: bearable})
	defer s.Close()
	armed.Store(true)
	if err := submit(s, "Q1"); err == nil {
		t.Error("accepted, and nobody knows")
	}
	if _, err := s.Create(context.Background()); err != nil {
		t.Error(err)
	}
	if err := submit(s, "Q2"); err == nil || errors.Is(err, queue.ErrFull) {
		t.Error("without the database:", err)
	}
	p.set(false)
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if err := submit(s, "Q3"); err == nil {
			break
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		got := ids(t, s)
		if slices.Equal(got, []string{"Q3"}) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%q are left", got)
		}
	}
}

// PostgreSQL is killed and restarted under load from two nodes: what was accepted is delivered, what was
// not is not there, and nothing is delivered twice but what was in flight.
func TestKilledUnderLoad(t *testing.T) {
	t.Parallel()
	srv := postgres.Start(t)
	nodes := []*Store{open(t, Options{DSN: srv.DSN(), Node: "one", Lease: 3 * time.Second}), open(t, Options{DSN: srv.DSN(), Node: "two", Lease: 3 * time.Second})}
	var mu sync.Mutex
	accepted, delivered := make(map[string]bool), make(map[string]int)
	tried := 0
	done := make(chan struct{})
	var clients, workers sync.WaitGroup
	for c := range 6 {
		clients.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				id := fmt.Sprintf("%dx%06d", c, i)
				err := submit(nodes[c%2], id)
				mu.Lock()
				tried++
				if err == nil {
					accepted[id] = true
				}
				mu.Unlock()
				if err != nil {
					time.Sleep(10 * time.Millisecond)
				}
			}
		})
	}
	const hands = 3
	ctx, cancel := context.WithCancel(context.Background())
	for w := range 2 * hands {
		workers.Go(func() {
			s := nodes[w%2]
			for ctx.Err() == nil {
				l, _, err := s.Lease(ctx, time.Now(), queue.Want{})
				if err != nil {
					time.Sleep(10 * time.Millisecond)
					continue
				}
				mu.Lock()
				delivered[l.Entry().ID]++
				mu.Unlock()
				j := l.Job().Clone()
				j.Recipients[0].State = queue.Delivered
				for ctx.Err() == nil { // until the outcome is known to be recorded
					err := l.Record(ctx, &queue.Record{At: time.Now(), Jobs: []queue.Job{*j}})
					if err == nil || errors.Is(err, queue.ErrLost) || errors.Is(err, queue.ErrLeaseEnded) {
						break
					}
					time.Sleep(10 * time.Millisecond)
				}
			}
		})
	}
	kills := installed.Rounds(3, 1)
	for range kills {
		time.Sleep(700 * time.Millisecond)
		srv.Kill()
		time.Sleep(200 * time.Millisecond)
		srv.Start()
	}
	time.Sleep(500 * time.Millisecond)
	close(done)
	clients.Wait()
	end := time.Now().Add(60 * time.Second)
	for time.Now().Before(end) {
		if n, _, err := nodes[0].Size(ctx); err == nil && n == 0 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	cancel()
	workers.Wait()
	if left := ids(t, nodes[1]); len(left) > 0 {
		t.Errorf("%d are left: %.200s", len(left), strings.Join(left, " "))
	}
	twice := 0
	for id := range accepted {
		if delivered[id] == 0 {
			t.Errorf("%s was accepted and is lost", id)
		}
	}
	for _, n := range delivered {
		twice += n - 1
	}
	if twice > kills*2*hands {
		t.Errorf("%d were delivered again", twice)
	}
	t.Logf("%d of %d were accepted, %d delivered, %d again", len(accepted), tried, len(delivered), twice)
	for _, s := range nodes {
		_ = s.Close()
	}
}

// A server that would forget what it committed is refused, and a schema of a newer version too.
func TestRefused(t *testing.T) {
	t.Parallel()
	srv := postgres.Start(t)
	o := Options{DSN: srv.DSN(), Node: "one"}
	_ = open(t, o).Close()
	refused := func(want string) {
		t.Helper()
		if s, err := Open(context.Background(), o); err == nil {
			_ = s.Close()
			t.Errorf("opened, wanted %q", want)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("%v, wanted %q", err, want)
		}
	}
	srv.Exec(t, "UPDATE msa.msa_meta SET version = 99")
	refused("newer caddy-msa")
	srv.Exec(t, "UPDATE msa.msa_meta SET version = $1", len(migrations))
	srv.Exec(t, "ALTER ROLE msa SET synchronous_commit = off")
	refused("synchronous_commit")
	srv.Exec(t, "ALTER ROLE msa RESET synchronous_commit")
	srv.Kill()
	refused("spool postgres: ")
	srv.Start("fsync=off")
	refused("fsync")
}
