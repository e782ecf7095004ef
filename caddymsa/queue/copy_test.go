package queue_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// runCopies is run with an archive of every message.
func runCopies(t *testing.T, deliver, archive queue.Sink, test func(*rig)) {
	t.Helper()
	run(t, to(deliver), func(r *rig) {
		r.host.g.copies = map[string]queue.Route{"archive": r.archive(archive)}
		test(r)
	})
}

func (r *rig) archive(s queue.Sink) queue.Route {
	return queue.Route{Sink: s, Name: "archive", Lane: "archive/store", Schedule: &queue.Schedule{Retry: []time.Duration{time.Minute}, Expire: time.Hour}}
}

// accept submits a message with the jobs that the generation in charge makes of it.
func (r *rig) accept(id string, change func(*queue.Entry), rcpts ...string) {
	r.Helper()
	e := &queue.Entry{ID: id, Server: "main", Accepted: time.Now(), Size: int64(len(letter)), Sender: "alice@example.org", ReturnPath: true, User: "alice"}
	for _, a := range rcpts {
		e.Recipients = append(e.Recipients, queue.Recipient{Address: a})
	}
	if change != nil {
		change(e)
	}
	g, _, _ := r.host.Acquire()
	if err := r.spool.Submit(e, []byte(letter), r.Jobs(context.Background(), g, e)...); err != nil {
		r.Fatal(err)
	}
}

// Every message goes to its recipients and, once more and whole, to the archive; it ends when both have it.
func TestCopy(t *testing.T) {
	deliver, archive := newSink(nil), newSink(nil)
	runCopies(t, deliver, archive, func(r *rig) {
		r.accept("Q1", nil, "bob@example.net", "carol@example.net")
		if v := r.mustHave("Q1"); len(v.Jobs) != 2 || v.Jobs[1].Copy != "archive" || v.Jobs[1].Number != 2 || v.Jobs[1].Lane != "archive/store" || !v.Jobs[1].Deadline.Equal(r.began.Add(time.Hour)) {
			r.Fatalf("%+v", v.Jobs)
		}
		r.Start()
		r.after(time.Second)
		r.mustNotHave("Q1")
		if a, b := deliver.all(), archive.all(); len(a) != 1 || len(b) != 1 || a[0].message != letter || b[0].message != letter || b[0].rcpts != "bob@example.net carol@example.net" {
			r.Errorf("%+v, %+v", a, b)
		}
	})
}

// An archive that is down, refuses, or never ends: the recipients have the message in the same
// moment as ever, the sender hears of nothing, and the operator of what was lost.
func TestCopyFails(t *testing.T) { copyFails(t, 20) }

func copyFails(t *testing.T, messages int) {
	for name, fails := range map[string]func(context.Context, *queue.Delivery) error{
		"down": always(queue.Unreachable(tryLater)), "later": always(tryLater), "never": always(noSuchUser), "silent": untilCancelled,
		"panic": func(context.Context, *queue.Delivery) error { panic("broken") },
	} {
		t.Run(name, func(t *testing.T) {
			deliver := newSink(nil)
			runCopies(t, deliver, newSink(fails), func(r *rig) {
				r.host.g.copies["archive"].Schedule.Warn = time.Minute
				r.Start()
				for range messages {
					id := "Q" + string(rune('A'+len(deliver.all())))
					n := len(deliver.all())
					r.accept(id, func(e *queue.Entry) { e.Recipients[0].Notify = []string{"FAILURE", "DELAY"} }, "bob@example.net")
					r.after(time.Millisecond)
					if len(deliver.all()) != n+1 {
						r.Fatalf("message %d waits for the copies of those before it", n)
					}
				}
				if v := r.entry("QA"); v != nil && (v.Recipients[0].State != queue.Delivered || v.Recipients[0].Error != "") {
					r.Errorf("%+v", v.Recipients[0])
				}
				if name == "silent" {
					return
				}
				warning := *r.host.g
				warning.schedule.Warn = time.Minute
				r.host.set(&warning)
				r.after(3 * time.Hour)
				if ids := r.ids(); len(ids) > 0 {
					r.Errorf("%q are still there", ids)
				}
				r.mustLog(zapcore.ErrorLevel, "copy failed", messages)
				for _, ev := range r.events.all {
					if strings.Contains(ev, "told") || strings.Contains(ev, "gave up") || strings.Contains(ev, "held") {
						r.Errorf("event %q", ev)
					}
				}
				if f := r.facts(journal.Failed, journal.Expired); len(f) != messages || f[0].Visit == nil || f[0].Copy != "archive" {
					r.Errorf("%d facts: %+v", len(f), f)
				}
				if f := r.facts(journal.Bounced, journal.Told, journal.Untold, journal.Held); len(f) != 0 {
					r.Errorf("%+v", f)
				}
			})
		})
	}
}

// An archive that takes ten seconds a message delays none of a thousand deliveries (outside CI 300), its user's or another's, and gets
// all of them in its own time.
func TestCopySlow(t *testing.T) { copySlow(t, installed.Rounds(1000, 300)) }

func copySlow(t *testing.T, messages int) {
	deliver := newSink(nil)
	archive := newSink(func(ctx context.Context, _ *queue.Delivery) error {
		select {
		case <-time.After(10 * time.Second):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	runCopies(t, deliver, archive, func(r *rig) {
		r.host.g.copies["archive"].Schedule.Expire = 24 * time.Hour
		r.host.g.settings.Workers = 8
		r.Start()
		for i := range messages {
			r.accept(fmt.Sprintf("Q%04d", i), func(e *queue.Entry) { e.User = fmt.Sprint("user", i%2) }, "bob@example.net")
			if i%50 == 49 {
				r.after(time.Second)
				if n := len(deliver.all()); n != i+1 {
					r.Fatalf("%d of %d were delivered", n, i+1)
				}
			}
		}
		for range 24 {
			r.after(time.Hour)
		}
		if ids := r.ids(); len(ids) > 0 || len(archive.all()) != messages {
			r.Errorf("%d messages are left, the archive has %d", len(ids), len(archive.all()))
		}
	})
}

// A sender whose message bounces is told in the same moment as ever, while the copy waits, and the copy comes.
func TestCopyOfBounced(t *testing.T) {
	var up atomic.Bool
	archive := newSink(func(context.Context, *queue.Delivery) error {
		if !up.Load() {
			return queue.Unreachable(tryLater)
		}
		return nil
	})
	deliver := newSink(func(_ context.Context, d *queue.Delivery) error {
		if d.Entry.Bounce {
			return nil
		}
		return noSuchUser
	})
	runCopies(t, deliver, archive, func(r *rig) {
		r.Start()
		r.accept("Q1", nil, "bob@example.net")
		r.after(time.Second)
		r.mustNotHave("BOUNCE1")
		if all := deliver.all(); len(all) != 2 || !all[1].entry.Bounce {
			r.Fatalf("%+v", all)
		}
		if v := r.mustHave("Q1"); v.DeadLetter() || !v.OnlyCopies() || v.Recipients[0].State != queue.Failed {
			r.Errorf("%+v", v)
		}
		up.Store(true)
		r.after(20 * time.Minute)
		r.mustNotHave("Q1")
		if last := archive.last(); last.entry.ID != "Q1" || last.message != letter {
			r.Errorf("%+v", last)
		}
	})
}

// The operator who gives a message up, or gives it to another server, means its recipients.
func TestCopyOfGivenUp(t *testing.T) {
	deliver, archive := newSink(always(tryLater)), newSink(always(tryLater))
	runCopies(t, deliver, archive, func(r *rig) {
		r.Start()
		r.accept("Q1", nil, "bob@example.net")
		r.after(time.Second)
		if _, err := r.spool.Change(context.Background(), "Q1", func(m *queue.EntryView) error {
			m.Status.GivenUp, m.Status.GivenUpAt, m.Status.Rerouted = "enough", time.Now(), "other"
			m.Jobs[0].Due, m.Jobs[0].Deadline = time.Now(), time.Now()
			return nil
		}); err != nil {
			r.Fatal(err)
		}
		deliver.become(nil)
		archive.become(nil)
		r.after(time.Second)
		if v := r.mustHave("Q1"); v.Recipients[0].State != queue.Failed || !v.OnlyCopies() {
			r.Errorf("%+v", v)
		}
		r.after(time.Minute)
		r.mustNotHave("Q1")
		if last := archive.last(); last.entry.Server != "main" || last.attempt != 2 {
			r.Errorf("%+v", last)
		}
	})
}

// A copy that gave up is kept as a dead letter, where the schedule says so, whatever became of the recipients.
func TestCopyDeadLetter(t *testing.T) {
	runCopies(t, newSink(nil), newSink(always(noSuchUser)), func(r *rig) {
		route := r.host.g.copies["archive"]
		route.Schedule.Keep = 24 * time.Hour
		r.Start()
		r.accept("Q1", nil, "bob@example.net")
		r.after(time.Second)
		if v := r.mustHave("Q1"); !v.DeadLetter() || v.Recipients[0].State != queue.Delivered {
			r.Errorf("%+v", v)
		}
		r.after(25 * time.Hour)
		r.mustNotHave("Q1")
	})
}

// After a reload a waiting copy goes where the copy of its name goes now. One that nothing has that name any more is
// kept until its time is over, said loudly, and goes when the name is back.
func TestCopyReload(t *testing.T) {
	old, moved := newSink(always(queue.Unreachable(tryLater))), newSink(nil)
	runCopies(t, newSink(nil), old, func(r *rig) {
		r.Start()
		r.accept("Q1", nil, "bob@example.net")
		r.after(time.Second)
		reload := func(copies map[string]queue.Route) {
			g := newGeneration(to(newSink(nil)))
			g.copies = copies
			r.host.set(g)
			r.Wake()
			r.after(time.Second)
		}
		reload(nil)
		if v := r.mustHave("Q1"); v.Jobs[1].Lane != "" || !v.Jobs[1].Pending() {
			r.Errorf("%+v", v.Jobs[1])
		}
		if l := r.logs.FilterLevelExact(zapcore.ErrorLevel).All(); len(l) != 1 || l[0].Message != "copy deferred" || l[0].ContextMap()["error"] != "the configuration has no copy archive: no route takes the recipient" {
			r.Errorf("%+v", l)
		}
		route := r.archive(moved)
		route.Lane = "archive/elsewhere"
		reload(map[string]queue.Route{"archive": route})
		r.after(6 * time.Minute)
		r.mustNotHave("Q1")
		if all := moved.all(); len(all) != 1 || all[0].message != letter {
			r.Errorf("%+v", all)
		}
	})
}

// A reload finds copies in lanes of before and takes them over without an attempt in the old place.
func TestCopySwept(t *testing.T) {
	old, moved := newSink(always(tryLater)), newSink(nil)
	runCopies(t, newSink(nil), old, func(r *rig) {
		r.Start()
		r.accept("Q1", nil, "bob@example.net", "carol@example.net")
		r.after(time.Second)
		g := newGeneration(to(newSink(nil)))
		route := r.archive(moved)
		route.Lane = "archive/elsewhere"
		g.copies = map[string]queue.Route{"archive": route}
		r.host.set(g)
		r.Wake()
		r.after(time.Second)
		r.mustNotHave("Q1")
		if len(old.all()) != 1 || len(moved.all()) != 1 {
			r.Errorf("%+v, %+v", old.all(), moved.all())
		}
	})
}

// A crash between the delivery and its copy loses neither: the copy comes, the delivery does not come again.
func TestCopyCrash(t *testing.T) {
	deliver, archive := newSink(nil), newSink(always(queue.Unreachable(tryLater)))
	runCopies(t, deliver, archive, func(r *rig) {
		r.Start()
		for _, id := range []string{"Q1", "Q2", "Q3"} {
			r.accept(id, nil, "bob@example.net")
		}
		r.after(time.Second)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		r.Stop(ctx)
		r.spool.Reopen()
		archive.deliver = nil
		r.Queue = queue.New(r.spool, r.host, r.options(zapcore.NewNopCore()))
		r.Start()
		r.after(time.Minute)
		r.mustNotHave("Q1", "Q2", "Q3")
		seen := make(map[string]bool)
		for _, c := range archive.all() {
			seen[c.entry.ID] = true
		}
		if len(deliver.all()) != 3 || len(seen) != 3 {
			r.Errorf("%d deliveries, copies of %v", len(deliver.all()), seen)
		}
	})
}

// A bounce of ours is on hold where nothing takes it; a copy of it that nothing takes changes nothing of that.
func TestCopyOfOwnNotification(t *testing.T) {
	deliver := newSink(nil)
	runCopies(t, deliver, newSink(nil), func(r *rig) {
		e := &queue.Entry{ID: "Q1", Server: "main", Accepted: time.Now(), Bounce: true, Recipients: []queue.Recipient{{Address: "alice@example.org"}}}
		j, c := queue.NewJob(e), queue.NewJob(e)
		c.Number, c.Copy = 2, "unknown"
		if err := r.spool.Submit(e, []byte(letter), j, c); err != nil {
			r.Fatal(err)
		}
		r.Start()
		r.after(time.Second)
		if v := r.mustHave("Q1"); v.Held != "" || v.Recipients[0].State != queue.Delivered {
			r.Errorf("%+v", v)
		}
	})
}

func (r *rig) ids() (ids []string) {
	if err := r.spool.List(context.Background(), "", func(m *queue.EntryView) bool { ids = append(ids, m.Entry.ID); return true }); err != nil {
		r.Fatal(err)
	}
	return ids
}

// facts are those of some kinds.
func (r *rig) facts(kinds ...journal.Kind) (all []journal.Fact) {
	if err := r.spool.Facts(context.Background(), &journal.Query{What: kinds}, func(f *journal.Fact) bool { all = append(all, *f); return true }); err != nil {
		r.Fatal(err)
	}
	return all
}
