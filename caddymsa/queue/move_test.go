package queue_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/dsn"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue/queuetest"
)

var (
	errCrash   = errors.New("crash")
	background = context.Background()
)

// crashing is a spool that can do no more from a certain call on, before or after that call has had its effect.
type crashing struct {
	*queuetest.MemSpool
	calls *crash
}

type crash struct {
	mu    sync.Mutex
	n, at int
	after bool
	check func()
}

func (c *crash) call(f func() error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	if c.at > 0 && (c.n > c.at || c.n == c.at && !c.after) {
		return errCrash
	}
	err := f()
	c.check()
	if c.n == c.at {
		return errCrash
	}
	return err
}

// alive counts nothing: what only reads makes no difference, but for a crash.
func (c *crash) alive() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.at > 0 && c.n >= c.at {
		return errCrash
	}
	return nil
}

func (s crashing) Get(ctx context.Context, id string) (*queue.EntryView, error) {
	if err := s.calls.alive(); err != nil {
		return nil, err
	}
	return s.MemSpool.Get(ctx, id)
}

func (s crashing) List(ctx context.Context, after string, yield func(*queue.EntryView) bool) error {
	if err := s.calls.alive(); err != nil {
		return err
	}
	return s.MemSpool.List(ctx, after, yield)
}

func (s crashing) Size(ctx context.Context) (int, int64, error) {
	if err := s.calls.alive(); err != nil {
		return 0, 0, err
	}
	return s.MemSpool.Size(ctx)
}

func (s crashing) Create(ctx context.Context) (d queue.Draft, err error) {
	err = s.calls.call(func() error { d, err = s.MemSpool.Create(ctx); return err })
	return crashingDraft{d, s}, err
}

func (s crashing) Change(ctx context.Context, id string, f func(*queue.EntryView) error) (n int, err error) {
	err = s.calls.call(func() error { n, err = s.MemSpool.Change(ctx, id, f); return err })
	return n, err
}

func (s crashing) Delete(ctx context.Context, id string, facts ...journal.Fact) (n int, err error) {
	err = s.calls.call(func() error { n, err = s.MemSpool.Delete(ctx, id, facts...); return err })
	return n, err
}

type crashingDraft struct {
	queue.Draft
	s crashing
}

func (d crashingDraft) Commit(ctx context.Context, a *queue.Accept) error {
	return d.s.calls.call(func() error { return d.Draft.Commit(ctx, a) })
}

// moveSpools returns a spool with messages of all kinds, and an empty one.
func moveSpools(t *testing.T) (from, to *queuetest.MemSpool, want map[string]string) {
	from, to = queuetest.NewMemSpool(), queuetest.NewMemSpool()
	now := time.Now()
	entry := func(id string) *queue.Entry {
		return &queue.Entry{ID: id, Server: "msa.example.org", Accepted: now, Sender: "a@example.org", Size: 3,
			Recipients: []queue.Recipient{{Address: "b@example.org"}, {Address: "c@example.net"}}}
	}
	submit := func(e *queue.Entry, change func(*queue.EntryView)) {
		t.Helper()
		one, two := queue.NewJob(e), queue.NewJob(e)
		one.Recipients, two.Recipients = one.Recipients[:1], two.Recipients[1:]
		two.Number, two.Lane = 2, "mx/example.net"
		if err := from.Submit(e, []byte(e.ID+"\n"), one, two); err != nil {
			t.Fatal(err)
		}
		if change != nil {
			if _, err := from.Change(background, e.ID, func(v *queue.EntryView) error { change(v); return nil }); err != nil {
				t.Fatal(err)
			}
		}
	}
	submit(entry("Q1"), nil)
	submit(entry("Q2"), func(v *queue.EntryView) { v.Status.Held = "by the operator" })
	submit(entry("Q3"), func(v *queue.EntryView) {
		v.Jobs[0].Recipients[0].State, v.Jobs[0].Attempts = queue.Delivered, 1
		v.Jobs[1].Attempts, v.Jobs[1].Warned, v.Jobs[1].Due = 7, true, now.Add(time.Hour)
		v.Status.Notes = []queue.Note{{Seq: 1, Time: now, Action: dsn.Delayed, To: queue.Indexes{1}}}
		v.Status.NotesSeq, v.Status.NotesDue = 1, now.Add(time.Minute)
	})
	submit(entry("Q4"), func(v *queue.EntryView) {
		for i := range v.Jobs {
			v.Jobs[i].Recipients[0].State = queue.Failed
		}
		v.Status.Dead = now.Add(24 * time.Hour)
	})
	return from, to, views(t, from)
}

// views tells all that a spool knows.
func views(t *testing.T, s *queuetest.MemSpool) map[string]string {
	t.Helper()
	all := make(map[string]string)
	if err := s.List(background, "", func(v *queue.EntryView) bool {
		all[v.Entry.ID] = fmt.Sprintf("%+v %+v %+v %q", *v.Entry, v.Status, v.Jobs, s.Message(v.Entry.ID))
		return true
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

func sameViews(t *testing.T, got, want map[string]string) {
	t.Helper()
	for id, w := range want {
		if got[id] != w {
			t.Errorf("%s is\n%s\nand not\n%s", id, got[id], w)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d messages, want %d", len(got), len(want))
	}
}

// A move that is broken off anywhere loses nothing, leaves at no moment a message that both spools may
// deliver, and is finished by another, or taken back by CancelMove.
func TestMoveBrokenOff(t *testing.T) {
	for _, cancel := range []bool{false, true} {
		for at, crashed := 1, true; crashed; at++ {
			for _, after := range []bool{false, true} {
				from, to, want := moveSpools(t)
				check := func() {
					f, g := states(t, from), states(t, to)
					for id := range want {
						if f[id] == "" && g[id] == "" || f[id] == "free" && g[id] == "free" {
							t.Errorf("call %d: %s is %q in the old spool and %q in the new one", at, id, f[id], g[id])
						}
					}
				}
				c := &crash{at: at, after: after, check: check}
				old, young := queue.Place{Name: "file:/old", Spool: crashing{from, c}}, queue.Place{Name: "file:/new", Spool: crashing{to, c}}
				err := queue.Move(background, old, young, func(string, error) {})
				crashed = errors.Is(err, errCrash)
				if err != nil && !crashed {
					t.Fatal(err)
				}
				if crashed != (c.n >= at) {
					t.Fatalf("call %d of %d: %v", at, c.n, err)
				}
				c.at = 0
				if !cancel {
					if err := queue.Move(background, old, young, func(id string, err error) {
						if err != nil {
							t.Errorf("%s: %v", id, err)
						}
					}); err != nil {
						t.Fatal(err)
					}
					sameViews(t, views(t, to), want)
					sameViews(t, views(t, from), nil)
					continue
				}
				if err := queue.CancelMove(background, old, young, func(string, error) {}); err != nil {
					t.Fatal(err)
				}
				all := views(t, from)
				for id, v := range views(t, to) {
					if all[id] != "" {
						t.Errorf("%s is in both spools", id)
					}
					all[id] = v
				}
				sameViews(t, all, want)
			}
		}
	}
}

// states tells of each message whether it may be delivered.
func states(t *testing.T, s *queuetest.MemSpool) map[string]string {
	all := make(map[string]string)
	if err := s.List(background, "", func(v *queue.EntryView) bool {
		all[v.Entry.ID] = "free"
		if v.Status.Held != "" {
			all[v.Entry.ID] = "held"
		}
		return true
	}); err != nil {
		t.Error(err)
	}
	return all
}

// What is being delivered is moved when the attempt has ended, with what came of it.
func TestMoveInFlight(t *testing.T) {
	from, to, _ := moveSpools(t)
	l, _, err := from.Lease(background, time.Now(), queue.Want{})
	if err != nil {
		t.Fatal(err)
	}
	id := l.Entry().ID
	done := make(chan error)
	go func() {
		done <- queue.Move(background, queue.Place{Name: "a", Spool: from}, queue.Place{Name: "b", Spool: to}, func(string, error) {})
	}()
	for len(views(t, to)) < 3 {
		time.Sleep(time.Millisecond)
	}
	if _, err := to.Get(background, id); !errors.Is(err, queue.ErrNotFound) {
		t.Errorf("%s was moved while it was being delivered: %v", id, err)
	}
	j := l.Job().Clone()
	j.Recipients[0].State = queue.Delivered
	if err := l.Record(background, &queue.Record{At: time.Now(), Jobs: []queue.Job{*j}}); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	v, err := to.Get(background, id)
	if err != nil {
		t.Fatal(err)
	}
	if v.Status.Held != "" || v.Jobs[j.Number-1].Recipients[0].State != queue.Delivered {
		t.Errorf("%+v", v)
	}
}

// A message of that name that the new spool has already is not overwritten, and the old one goes on with its own.
func TestMoveClash(t *testing.T) {
	from, to, want := moveSpools(t)
	other := &queue.Entry{ID: "Q1", Server: "other.example.org", Accepted: time.Now(), Recipients: []queue.Recipient{{Address: "z@example.org"}}}
	if err := to.Submit(other, []byte("other\n")); err != nil {
		t.Fatal(err)
	}
	var failed []string
	if err := queue.Move(background, queue.Place{Name: "a", Spool: from}, queue.Place{Name: "b", Spool: to}, func(id string, err error) {
		if err != nil {
			failed = append(failed, id+": "+err.Error())
		}
	}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(failed, "\n"); got != "Q1: the spool b has a message Q1 of its own" {
		t.Error(got)
	}
	sameViews(t, views(t, from), map[string]string{"Q1": want["Q1"]})
	if string(to.Message("Q1")) != "other\n" {
		t.Error("the other message was overwritten")
	}
}

// unsound panics when a message is looked at.
type unsound struct{ *queuetest.MemSpool }

func (unsound) Get(context.Context, string) (*queue.EntryView, error) { panic("a bug in Get") }

// Messages are moved by goroutines of their own, where a panic of a spool would end the process.
func TestMovePanics(t *testing.T) {
	from, to := queuetest.NewMemSpool(), queuetest.NewMemSpool()
	d, err := from.Create(background)
	if err != nil {
		t.Fatal(err)
	}
	e := &queue.Entry{ID: "Q1", Accepted: time.Now(), Recipients: []queue.Recipient{{Address: "bob@example.net"}}}
	if err := d.Commit(background, &queue.Accept{Entry: e, Jobs: []queue.Job{queue.NewJob(e)}}); err != nil {
		t.Fatal(err)
	}
	err = queue.Move(background, queue.Place{Name: "old", Spool: unsound{from}}, queue.Place{Name: "new", Spool: to}, func(string, error) {})
	if err == nil || !strings.Contains(err.Error(), "a bug in Get") || !strings.Contains(err.Error(), "move_test.go") {
		t.Error(err)
	}
}
