package queue_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// A lane that is down, or paused, or both by turns, from start to expiry: each message is warned of and bounced in time,
// once, without visits.
func TestInTimeWhateverTheLane(t *testing.T) {
	const messages, warn, expire = 50, time.Hour, 5 * time.Hour
	pause := func(r *rig) {
		if err := r.Pause(context.Background(), "test", "repair"); err != nil {
			r.Error(err)
		}
	}
	for _, c := range []struct {
		name   string
		begin  func(*rig)
		meet   func(*rig) // before the times that matter
		visits int        // at most
	}{
		{name: "down", begin: func(*rig) {}, visits: 80}, // probes, 5 minutes apart
		{name: "paused", begin: pause},
		{name: "paused while down", begin: func(*rig) {}, meet: pause, visits: 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, bounces := newSink(func(context.Context, *queue.Delivery) error { return refused }), newSink(nil)
			run(t, bouncesTo(bounces, s), func(r *rig) {
				r.host.g.schedule.Expire, r.host.g.schedule.Warn = expire, warn
				r.Start()
				r.submit("FIRST", func(e *queue.Entry) { e.Sender = "" }, "bob@example.net") // makes the lane known
				r.after(time.Second)
				before := len(s.all())
				c.begin(r)
				for i := range messages {
					user := fmt.Sprintf("user%d", i%7)
					r.submit(fmt.Sprintf("Q%02d", i), func(e *queue.Entry) { e.User = user }, "bob@example.net", "carol@example.net")
				}
				told := func(action string) (n int) {
					for _, b := range bounces.all() {
						if strings.Contains(b.message, "Action: "+action) {
							if strings.Count(b.message, "Final-Recipient:") != 2 {
								r.Errorf("of one recipient only:\n%s", b.message)
							}
							if c.name == "paused" && strings.Contains(b.message, "Last-Attempt-Date:") {
								r.Errorf("there was no attempt:\n%s", b.message)
							}
							n++
						}
					}
					return n
				}
				if c.meet != nil {
					r.after(10 * time.Minute)
					c.meet(r)
					r.after(warn - 11*time.Minute)
				} else {
					r.after(warn - time.Minute)
				}
				if n := len(bounces.all()); n != 0 {
					t.Errorf("%d were told early", n)
				}
				r.after(4 * time.Minute) // notes wait for two
				if n := told("delayed"); n != messages {
					t.Errorf("%d of %d were warned of in time", n, messages)
				}
				r.after(expire - warn - 4*time.Minute)
				if n := told("failed"); n != 0 {
					t.Errorf("%d were bounced early", n)
				}
				r.after(4 * time.Minute)
				if n := told("failed"); n != messages {
					t.Errorf("%d of %d were bounced in time", n, messages)
				}
				r.after(24 * time.Hour)
				if n := len(bounces.all()); n != 2*messages {
					t.Errorf("%d notifications in all", n)
				}
				if n := len(s.all()) - before; n > c.visits {
					t.Errorf("%d visits", n)
				}
				if n, _, err := r.spool.Size(context.Background()); n != 0 || err != nil {
					t.Errorf("%d messages are left, %v", n, err)
				}
			})
		})
	}
}

// A message to a thousand recipients in 300 lanes expires, while the process is killed over and over, between the records
// of its jobs and at that of its bounce: it makes one bounce, which names each of them once.
func TestOneBounceThroughCrashes(t *testing.T) {
	for seed := range uint64(installed.Rounds(3, 1)) { //nolint:gosec // few
		s, bounces := newSink(func(context.Context, *queue.Delivery) error { return refused }), newSink(nil)
		rnd := rand.New(rand.NewPCG(seed, 11))
		run(t, bouncesTo(bounces, &hops{sink: s}), func(r *rig) {
			r.host.g.schedule.Expire = time.Hour
			var armed atomic.Int32 // records until the next crash; negative: none
			var dead atomic.Bool
			crashes := 0
			r.spool.SetFault(func(op string, e *queue.Entry) error {
				if (op == "record" || op == "commit" && e.Bounce) && armed.Add(-1) == 0 {
					dead.Store(true)
				}
				if dead.Load() {
					return queue.ErrClosed
				}
				return nil
			})
			var rcpts []string
			recipients, lanes := installed.Rounds(1000, 300), installed.Rounds(300, 100)
			for i := range recipients {
				rcpts = append(rcpts, fmt.Sprintf("bob%d@d%d.example", i, i%lanes))
			}
			r.Start()
			r.submit("Q1", nil, rcpts...)
			r.after(time.Hour - time.Second)
			armed.Store(int32(1 + rnd.IntN(40)))
			for range 240 {
				r.after(time.Second / 2)
				if !dead.Load() {
					continue
				}
				crashes++
				ctx, cancel := context.WithCancel(context.Background())
				cancel()
				r.Stop(ctx)
				r.spool.Close()
				dead.Store(false)
				r.spool.Reopen()
				r.Queue = queue.New(r.spool, r.host, r.options(zapcore.NewNopCore()))
				r.Start()
				armed.Store(int32(1 + rnd.IntN(40)))
			}
			armed.Store(0)
			r.after(time.Hour)
			r.mustNotHave("Q1")
			ids := make(map[string]bool) // a process that dies when its bounce was delivered delivers that again
			for _, c := range bounces.all() {
				ids[c.entry.ID] = true
				if n := strings.Count(c.message, "Status: 5.4.7"); n != recipients {
					t.Errorf("seed %d: a bounce names %d", seed, n)
				}
			}
			if len(ids) != 1 {
				t.Errorf("seed %d: %d bounces after %d crashes", seed, len(ids), crashes)
			}
			if crashes < 2 {
				t.Errorf("%d crashes only", crashes)
			}
		})
	}
}

// The next probe of a lane that is down is another message: all have their turn, whatever their priorities.
func TestNextProbeIsAnother(t *testing.T) {
	s := newSink(func(context.Context, *queue.Delivery) error { return refused })
	run(t, to(s), func(r *rig) {
		for i := range 6 {
			r.submit(fmt.Sprintf("Q%d", i), func(e *queue.Entry) {
				e.User = []string{"alice", "bob", "carol"}[i%3]
				if i == 0 {
					e.Priority = 5
				}
			}, "bob@example.net")
		}
		r.Start()
		r.after(time.Hour)
		all := s.all()
		for i := range all[1:] {
			if all[i].entry.ID == all[i+1].entry.ID && all[i].after != all[i+1].after {
				t.Errorf("%s was probe %d and %d", all[i].entry.ID, i, i+1)
			}
		}
		seen := make(map[string]int)
		for _, c := range all {
			seen[c.entry.ID]++
		}
		if len(seen) != 6 {
			t.Errorf("of six messages these were tried: %v", seen)
		}
	})
}

// A message whose time is over while it is on hold is tried when it is released, also where the last attempt was a moment
// ago, or was under way when it was put on hold.
func TestExpiresOnHold(t *testing.T) {
	for _, c := range []struct {
		name           string
		takes          time.Duration // the attempt
		held, released time.Duration
		last           bool // it waits for its last attempt
	}{
		{"after an attempt", 0, 58 * time.Minute, 63 * time.Minute, false},
		{"in an attempt", 2 * time.Hour, 30 * time.Minute, 2*time.Hour + time.Minute, false},
		{"waiting for its last attempt", 0, 59 * time.Minute, 5 * time.Hour, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, bounces := newSink(func(context.Context, *queue.Delivery) error {
				time.Sleep(c.takes)
				return tryLater
			}), newSink(nil)
			run(t, bouncesTo(bounces, s), func(r *rig) {
				change := func(f func(*queue.EntryView)) {
					if _, err := r.spool.Change(context.Background(), "Q1", func(m *queue.EntryView) error { f(m); return nil }); err != nil {
						t.Fatal(err)
					}
					r.Wake()
				}
				r.host.g.schedule.Retry, r.host.g.schedule.Expire = []time.Duration{57 * time.Minute}, time.Hour
				r.Start()
				r.submit("Q1", nil, "bob@example.net")
				r.after(c.held)
				change(func(m *queue.EntryView) {
					m.Status.Held = "wait"
					if c.last {
						m.Jobs[0].Last, m.Jobs[0].Deadline = true, time.Now().Add(10*time.Minute)
					}
				})
				r.after(c.released - c.held)
				if m := r.mustHave("Q1"); m.Status.Held == "" || m.Open() != 1 || len(m.Status.Notes) != 0 {
					t.Errorf("%+v", m.EntryView)
				}
				tried := len(s.all())
				s.become(nil)
				change(func(m *queue.EntryView) {
					m.Status.Held, m.Status.Asked, m.Jobs[0].Due = "", time.Now(), time.Now()
				})
				r.after(time.Minute)
				r.mustNotHave("Q1")
				if len(s.all()) != tried+1 || len(bounces.all()) != 0 {
					t.Errorf("%d attempts after the release, %d bounces", len(s.all())-tried, len(bounces.all()))
				}
			})
		})
	}
}

// The operator's release gives a message whose time is over one more attempt, and not more.
func TestReleasedTooLate(t *testing.T) {
	s, bounces := newSink(always(tryLater)), newSink(nil)
	run(t, bouncesTo(bounces, s), func(r *rig) {
		r.host.g.schedule.Expire = time.Hour
		r.Start()
		r.submit("Q1", nil, "bob@example.net")
		r.after(59 * time.Minute)
		tried := len(s.all())
		for _, held := range []string{"wait", ""} {
			if _, err := r.spool.Change(context.Background(), "Q1", func(m *queue.EntryView) error {
				m.Status.Held, m.Status.Asked = held, time.Now()
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			r.Wake()
			r.after(10 * time.Minute)
		}
		r.mustNotHave("Q1")
		if len(s.all()) != tried+1 || len(bounces.all()) != 1 {
			t.Errorf("%d attempts after the release, %d bounces", len(s.all())-tried, len(bounces.all()))
		}
	})
}
