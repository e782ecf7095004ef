//go:build linux

package spoolpostgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/postgres"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// drafted is a message that is complete and not accepted yet.
func drafted(t *testing.T, s *Store, a *queue.Accept) *newMessage {
	t.Helper()
	d, err := s.Create(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Write([]byte("Subject: " + a.Entry.ID + "\r\n\r\nHello\r\n")); err != nil {
		t.Fatal(err)
	}
	m, err := d.(*draft).message(a)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// inOneGroup has them be one group.
func inOneGroup[T any](s *Store, do func([]*joined[T]), all ...T) (errs []error) {
	var some []*joined[T]
	for _, what := range all {
		some = append(some, &joined[T]{what: what, until: s.until()})
	}
	do(some)
	for _, m := range some {
		errs = append(errs, m.err)
	}
	return errs
}

// Messages that are accepted together are one transaction: all of them are there, or none is and each goes alone, so that one that the database
// does not take keeps no other from being accepted.
func TestAcceptedTogether(t *testing.T) {
	t.Parallel()
	srv := postgres.Shared(t)
	s := open(t, Options{DSN: srv.DSN(), Node: "one"})
	defer s.Close()
	var good []*newMessage
	var want []string
	for i := range 5 {
		a := accept(fmt.Sprint("Q", i))
		if i == 3 {
			a.Held = "for a reason"
			a.Header = []byte("Received: here\r\n")
		}
		good, want = append(good, drafted(t, s, a)), append(want, a.Entry.ID)
	}
	for i, err := range inOneGroup(s, s.acceptGroup, good...) {
		if err != nil {
			t.Errorf("%s: %v", want[i], err)
		}
	}
	if got := ids(t, s); !slices.Equal(got, want) {
		t.Errorf("%q, wanted %q", got, want)
	}
	if m, err := s.Get(context.Background(), "Q3"); err != nil || m.Status.Held != "for a reason" || len(m.Jobs) != 1 || len(m.Jobs[0].Recipients) != 1 {
		t.Errorf("%+v, %v", m, err)
	}
	for i := range 4 {
		l, _, err := s.Lease(context.Background(), time.Now(), queue.Want{})
		if err != nil {
			t.Fatal(i, err)
		}
		m, err := l.Open(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		text := make([]byte, 100)
		n, _ := m.Read(text)
		if want := "Subject: " + l.Entry().ID + "\r\n\r\nHello\r\n"; string(text[:n]) != want {
			t.Errorf("%q, wanted %q", text[:n], want)
		}
		l.Release()
	}

	bad := map[string]*queue.Accept{"Q1": accept("Q1"), "R1": accept("R1")}
	bad["R1"].Entry.User = "a\x00b" // no text of the database's
	for id, a := range bad {
		together := []*newMessage{drafted(t, s, accept("R0"+id)), drafted(t, s, a), drafted(t, s, accept("R2"+id))}
		for i, err := range inOneGroup(s, s.acceptGroup, together...) {
			if !errors.Is(err, errAlone) {
				t.Errorf("%s, %d: %v", id, i, err)
			}
		}
		if got := ids(t, s); !slices.Equal(got, want) {
			t.Errorf("%s: %q, wanted %q", id, got, want)
		}
	}
	// As clients meet it: all at once.
	var group sync.WaitGroup
	for i := range 40 {
		id, ok := fmt.Sprintf("S%02d", i), true
		a := accept(id)
		switch i % 4 {
		case 1:
			a.Entry.ID, ok = "Q1", false
		case 2:
			a.Entry.User, ok = "a\x00b", false
		default:
			want = append(want, id)
		}
		d, err := s.Create(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		group.Go(func() {
			if err := d.Commit(context.Background(), a); (err == nil) != ok {
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	group.Wait()
	if got := ids(t, s); !slices.Equal(got, want) {
		t.Errorf("%q, wanted %q", got, want)
	}
	if n, _, err := s.Size(context.Background()); n != len(want) || err != nil {
		t.Error(n, err)
	}
}

// Of messages with the same digest one is accepted, whoever else goes with them; and who waits for somebody who was stopped before it said which keeps nobody else waiting.
func TestDigestsTogether(t *testing.T) {
	t.Parallel()
	srv := postgres.Shared(t)
	s := open(t, Options{DSN: srv.DSN(), Node: "one"})
	defer s.Close()
	once := func(id string, digest byte) *queue.Accept {
		a := accept(id)
		a.Once = &queue.Once{Digest: [32]byte{digest}, Keep: time.Hour}
		return a
	}
	commit := func(a *queue.Accept) error {
		d, err := s.Create(context.Background())
		if err != nil {
			return err
		}
		defer d.Abort()
		return d.Commit(context.Background(), a)
	}
	if err := commit(once("Q0", 0)); err != nil {
		t.Fatal(err)
	}
	errs := inOneGroup(s, s.acceptGroup, drafted(t, s, once("Q1", 1)), drafted(t, s, once("Q2", 0)), drafted(t, s, accept("Q3")))
	if errs[0] != nil || !errors.Is(errs[1], errAlone) || errs[2] != nil {
		t.Error(errs)
	}
	var before *queue.BeforeError
	if err := commit(once("Q2", 0)); !errors.As(err, &before) || before.ID != "Q0" {
		t.Error(err)
	}
	var accepted atomic.Int32
	var group sync.WaitGroup
	for i := range 30 {
		group.Go(func() {
			var before *queue.BeforeError
			switch err := commit(once(fmt.Sprintf("R%02d", i), byte(10+i%3))); {
			case err == nil:
				accepted.Add(1)
			case !errors.As(err, &before):
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	group.Wait()
	if accepted.Load() != 3 {
		t.Errorf("%d were accepted of 3 that are different", accepted.Load())
	}

	c, err := pgx.Connect(context.Background(), srv.DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	stopped, err := c.Begin(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	digest := [32]byte{99}
	if _, err := stopped.Exec(context.Background(), "INSERT INTO msa.msa_digest VALUES ($1, 'elsewhere', now() + interval '1 hour')", digest[:]); err != nil {
		t.Fatal(err)
	}
	waits := make(chan error, 1)
	for i, err := range inOneGroup(s, s.acceptGroup, drafted(t, s, once("T0", 99)), drafted(t, s, accept("T1"))) {
		if !errors.Is(err, errAlone) {
			t.Errorf("%d: %v", i, err)
		}
	}
	go func() { waits <- commit(once("T0", 99)) }()
	for i := range 3 {
		if err := commit(accept(fmt.Sprint("U", i))); err != nil {
			t.Error(err)
		}
	}
	if err := stopped.Commit(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := <-waits; !errors.As(err, &before) || before.ID != "elsewhere" {
		t.Error(err)
	}
}

// Outcomes that are recorded together are one transaction: whoever has lost its lease, or finds its message deleted, keeps no other from being recorded.
func TestRecordedTogether(t *testing.T) {
	t.Parallel()
	srv := postgres.Shared(t)
	s := open(t, Options{DSN: srv.DSN(), Node: "one"})
	defer s.Close()
	for i := range 6 {
		if err := submit(s, fmt.Sprint("Q", i)); err != nil {
			t.Fatal(err)
		}
	}
	all := make([]*outcome, 6)
	for range all {
		l, _, err := s.Lease(context.Background(), time.Now(), queue.Want{})
		if err != nil {
			t.Fatal(err)
		}
		i := l.Entry().ID[1] - '0'
		j := l.Job().Clone()
		if i != 4 { // that one is tried again
			j.Recipients[0].State = queue.Delivered
		}
		all[i] = &outcome{l: l.(*lease), r: &queue.Record{At: time.Now(), Jobs: []queue.Job{*j}}, facts: new(factRows), ofDeleted: new(factRows)}
	}
	srv.Exec(t, "UPDATE msa.msa_due SET token = token + 1, owner = NULL WHERE id = 'Q1'") // another node has taken over
	if _, err := s.Delete(context.Background(), "Q2"); err != nil {
		t.Fatal(err)
	}
	errs := inOneGroup(s, s.recordGroup, all...)
	for i, err := range errs {
		if i == 1 && !errors.Is(err, queue.ErrLost) || i != 1 && err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
	if got := ids(t, s); !slices.Equal(got, []string{"Q1", "Q4"}) {
		t.Errorf("%q are left", got)
	}
	if m, err := s.Get(context.Background(), "Q4"); err != nil || len(m.Jobs) != 1 || m.Jobs[0].Leased || !m.Jobs[0].Pending() {
		t.Errorf("%+v, %v", m, err)
	}
	if n, _, err := s.Size(context.Background()); n != 2 || err != nil {
		t.Error(n, err)
	}
}

// A group's connection that breaks at COMMIT, before the server has it or after, changes nothing of what its clients are told.
func TestCutTogether(t *testing.T) {
	t.Parallel()
	srv := postgres.Shared(t)
	p := newProxy(t, srv)
	var next atomic.Int32
	p.onCommit(func() byte { return byte(next.Swap(0)) })
	s := open(t, Options{DSN: p.dsn(), Node: "one"})
	defer s.Close()
	var want []string
	for round := range 8 {
		next.Store(int32([]byte{'b', 'a'}[round%2]))
		var group sync.WaitGroup
		for i := range 10 {
			id := fmt.Sprintf("Q%02d", 10*round+i)
			want = append(want, id)
			group.Go(func() {
				if err := submit(s, id); err != nil {
					t.Errorf("%s: %v", id, err)
				}
			})
		}
		group.Wait()
	}
	if got := ids(t, s); !slices.Equal(got, want) {
		t.Errorf("%q, wanted %q", got, want)
	}
	for round := range 8 {
		next.Store(int32([]byte{'b', 'a'}[round%2])) // one loss, which a record outlives; however few of them go together
		var group sync.WaitGroup
		for range 10 {
			l, _, err := s.Lease(context.Background(), time.Now(), queue.Want{})
			if err != nil {
				t.Fatal(err)
			}
			group.Go(func() {
				j := l.Job().Clone()
				j.Recipients[0].State = queue.Delivered
				if err := l.Record(context.Background(), &queue.Record{At: time.Now(), Jobs: []queue.Job{*j}}); err != nil {
					t.Errorf("%s: %v", l.Entry().ID, err)
				}
			})
		}
		group.Wait()
	}
	if got := ids(t, s); len(got) != 0 {
		t.Errorf("%q are left", got)
	}
}
