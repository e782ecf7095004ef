package queue_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue/queuetest"
)

func TestDelivered(t *testing.T) { // found in the log by its id
	s := newSink(func(context.Context, *queue.Delivery) error {
		time.Sleep(2 * time.Second)
		return nil
	})
	run(t, to(s), func(r *rig) {
		r.Start()
		r.after(time.Hour)
		r.submit("Q1", nil, "bob@example.net", "carol@example.net")
		r.after(3 * time.Second)
		r.mustNotHave("Q1")
		if c := s.last(); c.message != letter || c.rcpts != "bob@example.net carol@example.net" {
			t.Errorf("delivered %+v", c)
		}
		r.mustSee("Q1 delivered bob@example.net test", "Q1 delivered carol@example.net test")
		r.mustLog(zap.InfoLevel, "delivery delivered", 1)
		fields := r.logged("delivery delivered")[0].ContextMap()
		for name, want := range map[string]any{
			"queue_id": "Q1", "route": "test", "sender": "alice@example.org", "outcome": "delivered", "attempt": int64(1),
			"recipients": []any{"bob@example.net", "carol@example.net"}, "duration": 2 * time.Second,
		} {
			if got := fields[name]; fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("field %s is %v, wanted %v", name, got, want)
			}
		}
		if len(r.logs.All()) != 1 {
			t.Errorf("more was logged: %v", r.logs.All())
		}
	})
}

func TestLeftovers(t *testing.T) {
	s := newSink(nil)
	run(t, to(s), func(r *rig) {
		for i := range 100 { // from a previous run
			r.submit(fmt.Sprintf("Q%03d", i), nil, "bob@example.net")
		}
		r.Start()
		r.Start()
		synctest.Wait()
		if n := len(s.all()); n != 100 {
			t.Errorf("%d of 100 delivered", n)
		}
		if len(r.logs.FilterLevelExact(zap.ErrorLevel).All()) > 0 {
			t.Error(r.logs.All())
		}
	})
}

func TestRetries(t *testing.T) {
	var failing atomic.Bool
	failing.Store(true)
	s := newSink(func(context.Context, *queue.Delivery) error {
		if failing.Load() {
			return tryLater
		}
		return nil
	})
	run(t, to(s), func(r *rig) {
		r.submit("Q1", nil, "bob@example.net")
		r.Start()
		r.after(30 * time.Second)
		e := r.mustHave("Q1")
		if got := e.Recipients[0]; got.Error != "451 4.2.0 Mailbox busy" || got.Code != 451 || got.Status != "4.2.0" || got.State != queue.Pending {
			t.Errorf("recipient %+v", got)
		}
		if e.Attempts != 1 || !e.Next.Equal(r.began.Add(time.Minute)) {
			t.Errorf("entry %+v", e)
		}
		fields := r.logged("delivery deferred")[0].ContextMap()
		if fields["reply"] != "451 4.2.0 Mailbox busy" || fields["next"] != time.Minute {
			t.Errorf("fields %v", fields)
		}
		r.after(50 * time.Minute)
		failing.Store(false)
		r.after(time.Hour)
		var at []time.Duration
		for _, c := range s.all() {
			at = append(at, c.after/time.Minute)
		}
		if got := fmt.Sprint(at); got != fmt.Sprint([]time.Duration{0, 1, 6, 21, 36, 51}) {
			t.Errorf("attempts after minutes %v", got)
		}
		r.mustNotHave("Q1")
		r.mustLog(zap.WarnLevel, "delivery deferred", 5)
		r.mustLog(zap.InfoLevel, "delivery delivered", 1)
	})
}

func TestNobodyInCharge(t *testing.T) {
	s := newSink(nil)
	run(t, to(s), func(r *rig) {
		g := r.host.g
		r.host.set(nil)
		r.submit("Q1", nil, "bob@example.net")
		r.Start()
		r.after(24 * time.Hour)
		if n := len(s.all()); n != 0 {
			t.Fatalf("%d attempts while nobody was in charge", n)
		}
		r.host.set(g)
		r.Wake()
		r.after(0)
		r.mustNotHave("Q1")
	})
}

func TestReloadAstrideAttempt(t *testing.T) {
	old, young := newSink(untilCancelled), newSink(nil)
	run(t, to(old), func(r *rig) {
		first := r.host.g
		r.submit("Q1", nil, "bob@example.net")
		r.Start()
		r.after(time.Second)
		r.host.set(newGeneration(to(young)))
		first.leave()
		r.Wake()
		r.after(0)
		r.mustNotHave("Q1")
		if c := young.last(); c.rcpts != "bob@example.net" {
			t.Errorf("then came %+v", c)
		}
		r.mustSee("Q1 interrupted bob@example.net test", "Q1 delivered bob@example.net test")
		r.mustLog(zap.InfoLevel, "delivery interrupted", 1)
	})
}

// What was achieved before the attempt was cut off counts.
func TestInterruptedHalfWay(t *testing.T) {
	quick, slow := newSink(nil), newSink(untilCancelled)
	route := func(_ *queue.Entry, r *queue.Recipient) (queue.Sink, string, error) {
		if r.Address == "quick@example.net" {
			return quick, "quick", nil
		}
		return slow, "slow", nil
	}
	run(t, route, func(r *rig) {
		first := r.host.g
		r.submit("Q1", nil, "quick@example.net", "slow@example.net", "slow2@example.net")
		r.Start()
		r.after(time.Second)
		r.host.set(nil)
		first.leave()
		r.after(time.Minute)
		e := r.mustHave("Q1")
		if e.Recipients[0].State != queue.Delivered || e.Recipients[1].State != queue.Pending || e.Jobs[1].Attempts != 0 || e.Next.After(time.Now()) {
			t.Errorf("entry %+v", e.EntryView)
		}
		young := newSink(nil)
		r.host.set(newGeneration(to(young)))
		r.Wake()
		r.after(0)
		r.mustNotHave("Q1")
		if c := young.last(); c.rcpts != "slow@example.net slow2@example.net" {
			t.Errorf("then came %+v", c)
		}
	})
}

func TestWorkers(t *testing.T) {
	s := newSink(func(context.Context, *queue.Delivery) error {
		time.Sleep(900 * time.Millisecond) // longer ones in such lanes are set aside
		return nil
	})
	lanes := func(e *queue.Entry, _ *queue.Recipient) (queue.Sink, string, error) { return s, e.ID, nil }
	run(t, lanes, func(r *rig) {
		r.host.g.settings.Workers = 8
		for i := range 40 {
			r.submit(fmt.Sprintf("Q%02d", i), nil, "bob@example.net")
		}
		r.Start()
		r.after(1350 * time.Millisecond)
		// Lanes without a success have half of them.
		if _, most := s.atOnce(); most != 4 || len(s.all()) != 8 {
			t.Errorf("%d at once, %d in all, wanted 4 and 8", most, len(s.all()))
		}
		g := newGeneration(lanes)
		g.settings.Workers = 20
		r.host.set(g)
		r.Wake()
		r.after(15 * time.Millisecond)
		if now, _ := s.atOnce(); now != 10 {
			t.Errorf("%d at once, wanted 10 of the new generation", now)
		}
		g = newGeneration(lanes)
		g.settings.Workers = 2
		r.host.set(g)
		r.Wake()
		r.after(1800 * time.Millisecond)
		if now, _ := s.atOnce(); now != 1 {
			t.Errorf("%d at once, wanted 1", now)
		}
		r.after(time.Hour)
		if len(s.all()) != 40 {
			t.Errorf("%d delivered", len(s.all()))
		}
	})
}

// One lane never has more than a quarter of the workers, however well it goes.
func TestLaneShare(t *testing.T) {
	s := newSink(func(context.Context, *queue.Delivery) error {
		time.Sleep(time.Second)
		return nil
	})
	run(t, to(s), func(r *rig) {
		for i := range 400 {
			r.submit(fmt.Sprintf("Q%03d", i), nil, "bob@example.net")
		}
		r.Start()
		r.after(time.Hour)
		if _, most := s.atOnce(); most != r.host.g.settings.Workers/4 || len(s.all()) != 400 {
			t.Errorf("%d at once, %d delivered", most, len(s.all()))
		}
	})
}

func TestSlowSinkBlocksNobody(t *testing.T) {
	quick, slow := newSink(nil), newSink(untilCancelled)
	route := func(e *queue.Entry, _ *queue.Recipient) (queue.Sink, string, error) {
		if e.ID == "Q1" {
			return slow, "slow", nil
		}
		return quick, "quick", nil
	}
	run(t, route, func(r *rig) {
		r.Start()
		for i := range 10 {
			r.submit(fmt.Sprintf("Q%d", i), nil, "bob@example.net")
		}
		r.after(0)
		if n := len(quick.all()); n != 9 {
			t.Errorf("%d of 9 delivered beside the slow one", n)
		}
	})
}

func TestStop(t *testing.T) {
	for _, c := range []struct {
		name     string
		takes    time.Duration
		wants    time.Duration
		delivers bool
	}{
		{"waits for the attempt", 20 * time.Second, 20 * time.Second, true},
		{"cancels the attempt", time.Hour, 30 * time.Second, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSink(func(ctx context.Context, _ *queue.Delivery) error {
				select {
				case <-time.After(c.takes):
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			})
			run(t, to(s), func(r *rig) {
				r.host.g.settings.Workers = 1
				r.submit("Q1", nil, "bob@example.net")
				r.submit("Q2", nil, "bob@example.net")
				r.Start()
				r.after(0)
				began := time.Now()
				ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
				defer cancel()
				r.Stop(ctx)
				if took := time.Since(began); took != c.wants {
					t.Errorf("took %v, wanted %v", took, c.wants)
				}
				r.mustHave("Q2")
				if delivered := r.entry("Q1") == nil; delivered != c.delivers {
					t.Errorf("delivered: %v", delivered)
				}
				if len(s.all()) != 1 {
					t.Errorf("%d attempts", len(s.all()))
				}
				r.Start() // not again
				r.after(time.Hour)
				if len(s.all()) != 1 {
					t.Errorf("%d attempts after the end", len(s.all()))
				}
			})
		})
	}
}

func TestStopLeavesSinkThatDoesNotEnd(t *testing.T) {
	end := make(chan struct{})
	run(t, to(newSink(nil)), func(r *rig) {
		end = make(chan struct{})
		r.host.set(newGeneration(to(newSink(func(context.Context, *queue.Delivery) error { <-end; return nil }))))
		r.submit("Q1", nil, "bob@example.net")
		r.Start()
		r.after(0)
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		r.Stop(ctx)
		if took := time.Since(r.began); took != 31*time.Second {
			t.Errorf("took %v", took)
		}
		r.mustLog(zap.ErrorLevel, "deliveries do not end although they were cancelled; they are left behind", 1)
		close(end)
	})
}

func TestStopWithoutStart(t *testing.T) {
	run(t, to(newSink(nil)), func(r *rig) {
		r.submit("Q1", nil, "bob@example.net")
		r.Stop(context.Background())
		r.Start()
		r.after(time.Hour)
		r.mustHave("Q1")
	})
}

func TestSpoolInTrouble(t *testing.T) {
	s := newSink(nil)
	run(t, to(s), func(r *rig) {
		var broken atomic.Bool
		broken.Store(true)
		r.spool.SetFault(func(op string, _ *queue.Entry) error {
			if op == "lease" && broken.Load() {
				return errors.New("the disk is broken")
			}
			return nil
		})
		r.submit("Q1", nil, "bob@example.net")
		r.Start()
		r.after(12 * time.Second)
		if n := len(r.logged("the spool gives no jobs")); n < 2 || n > 5 {
			t.Errorf("logged %d times", n)
		}
		broken.Store(false)
		r.after(5 * time.Second)
		r.mustNotHave("Q1")
	})
}

// mute hides that a spool is a Notifier.
type mute struct{ queue.Spool }

func TestSpoolWithoutNotifier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(nil)
		spool := queuetest.NewMemSpool()
		h := new(host)
		h.set(newGeneration(to(s)))
		q := queue.New(mute{spool}, h, queue.Options{})
		q.Start()
		time.Sleep(time.Hour)
		(&rig{T: t, spool: spool}).submit("Q1", nil, "bob@example.net")
		time.Sleep(2 * time.Second)
		q.Stop(context.Background())
		if len(s.all()) != 1 {
			t.Errorf("%d attempts", len(s.all()))
		}
	})
}

// An outcome that cannot be stored is kept until it can: the message does not come twice.
func TestRecordFails(t *testing.T) {
	s := newSink(nil)
	run(t, to(s), func(r *rig) {
		var broken atomic.Bool
		broken.Store(true)
		r.spool.SetFault(func(op string, _ *queue.Entry) error {
			if op == "record" && broken.Load() && len(s.all()) > 0 {
				return errors.New("the disk is broken")
			}
			return nil
		})
		r.submit("Q1", nil, "bob@example.net")
		r.Start()
		r.after(4 * time.Second)
		if len(s.all()) != 1 {
			t.Errorf("%d attempts", len(s.all()))
		}
		broken.Store(false)
		r.after(4 * time.Second)
		if len(s.all()) != 1 {
			t.Errorf("%d attempts", len(s.all()))
		}
		r.mustNotHave("Q1")
		r.mustLog(zapcore.ErrorLevel, "the outcome of an attempt cannot be recorded yet", 1)
	})
}

// Two routes of one name and destination share a lane, and each message goes where its route says.
func TestRoutesThatShareALane(t *testing.T) {
	one, two := newSink(nil), newSink(nil)
	route := func(_ *queue.Entry, r *queue.Recipient) (queue.Sink, string, error) {
		if r.Address == "one@example.net" {
			return one, "maildir", nil
		}
		return two, "maildir", nil
	}
	run(t, route, func(r *rig) {
		r.submit("Q1", nil, "one@example.net", "two@example.net")
		r.Start()
		r.after(time.Second)
		r.mustNotHave("Q1")
		if one.last().rcpts != "one@example.net" || two.last().rcpts != "two@example.net" {
			t.Errorf("%+v, %+v", one.all(), two.all())
		}
	})
}
