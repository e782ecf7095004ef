package queue_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// byDomain routes to a sink whose destinations are domains, without changing what it is for others.
func byDomain(s *sink) routeFunc { return to(&hops{sink: s}) }

// A reload waits for nobody: attempts that can be taken back end at once and are made anew, without
// counting; one that is behind its end of data is finished.
func TestReloadInterrupts(t *testing.T) {
	var finals atomic.Int32
	old := newSink(func(ctx context.Context, d *queue.Delivery) error {
		if d.Recipients[0].Address == "dot@final.example" {
			if err := d.Final(); err != nil {
				return err
			}
			select {
			case <-time.After(20 * time.Second):
				finals.Add(1)
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		<-ctx.Done()
		if d.Final() == nil {
			t.Error("an attempt that was interrupted may go on")
		}
		return ctx.Err()
	})
	young := newSink(nil)
	run(t, byDomain(old), func(r *rig) {
		r.host.g.settings.Workers = 256
		r.submit("FINAL", nil, "dot@final.example")
		for i := range 100 {
			r.submit(fmt.Sprintf("Q%03d", i), nil, fmt.Sprintf("bob@silent%d.example", i))
		}
		r.Start()
		r.after(time.Second)
		if now, _ := old.atOnce(); now != 101 {
			t.Fatalf("%d attempts", now)
		}
		first := r.host.g
		r.host.set(newGeneration(to(young)))
		first.leave()
		r.Wake()
		r.after(time.Second)
		if n := len(young.all()); n != 100 {
			t.Errorf("%d of 100 went the new way within a second", n)
		}
		for _, c := range young.all() {
			if c.attempt != 1 {
				t.Errorf("attempt %d", c.attempt)
			}
		}
		r.after(time.Minute)
		r.mustNotHave("FINAL")
		if finals.Load() != 1 {
			t.Errorf("what was behind its dot was finished %d times", finals.Load())
		}
	})
}

// What is final has the grace period and no longer.
func TestReloadGrace(t *testing.T) {
	old, young := newSink(func(ctx context.Context, d *queue.Delivery) error {
		_ = d.Final()
		<-ctx.Done()
		return ctx.Err()
	}), newSink(nil)
	run(t, to(old), func(r *rig) {
		r.submit("Q1", nil, "bob@example.net")
		r.Start()
		r.after(time.Second)
		first := r.host.g
		r.host.set(newGeneration(to(young)))
		first.leave()
		r.after(29 * time.Second)
		if len(young.all()) != 0 {
			t.Error("taken back within the grace period")
		}
		r.after(2 * time.Second)
		r.mustNotHave("Q1")
	})
}

// What waits for a hop that the new configuration does not name goes its new way within seconds.
func TestReloadWithoutLane(t *testing.T) {
	old := newSink(func(context.Context, *queue.Delivery) error { return refused })
	later := newSink(func(context.Context, *queue.Delivery) error { return tryLater })
	young := newSink(nil)
	route := func(_ *queue.Entry, r *queue.Recipient) (queue.Sink, string, error) {
		if strings.HasPrefix(r.Address, "later") {
			return later, "later", nil
		}
		return old, "old", nil
	}
	run(t, route, func(r *rig) {
		messages := installed.Rounds(150, 50)
		for i := range messages {
			r.submit(fmt.Sprintf("D%03d", i), nil, "bob@example.net", "later@example.net")
		}
		r.Start()
		r.after(3 * time.Hour)
		g := newGeneration(to(young))
		g.gone = "old"
		r.host.set(g)
		r.Wake()
		r.after(5 * time.Second)
		if n := len(young.all()); n < messages {
			t.Errorf("%d went the new way within seconds", n)
		}
		for i := range messages {
			r.mustNotHave(fmt.Sprintf("D%03d", i))
		}
		before := len(r.logs.All())
		same := newGeneration(to(young))
		same.stamp = "999999-" + strings.SplitN(g.stamp, "-", 2)[1] // the same routes, loaded again
		r.host.set(same)
		r.Wake()
		r.after(time.Second)
		if len(r.logs.All()) != before {
			t.Error("a reload without other routes did something")
		}
	})
}

// Hops that are silent, and those of many domains, keep nobody else's messages, the same user's
// included.
func TestIsolation(t *testing.T) {
	s := newSink(func(ctx context.Context, d *queue.Delivery) error {
		switch domain := strings.SplitN(d.Recipients[0].Address, "@", 2)[1]; {
		case domain == "slow.example":
			select {
			case <-time.After(30 * time.Second):
			case <-ctx.Done():
				return ctx.Err()
			}
		case strings.HasPrefix(domain, "silent"):
			select {
			case <-time.After(time.Minute):
				return queue.Unreachable(errors.New("no greeting"))
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	run(t, byDomain(s), func(r *rig) {
		r.host.g.settings.Workers = 64
		r.Start()
		r.submit("FIRST", nil, "bob@good.example")
		r.after(time.Second)
		for i := range installed.Rounds(300, 100) { // more than there are workers
			r.submit(fmt.Sprintf("S%03d", i), nil, fmt.Sprintf("bob@silent%d.example", i))
			r.submit(fmt.Sprintf("T%03d", i), nil, "bob@silent.example")
			r.submit(fmt.Sprintf("U%03d", i), nil, "bob@slow.example")
		}
		r.after(time.Second)
		for i := range 100 {
			user := []string{"alice", "carol"}[i%2]
			id := fmt.Sprintf("G%03d", i)
			r.submit(id, func(e *queue.Entry) { e.User = user }, "bob@good.example")
			r.after(100 * time.Millisecond)
			r.mustNotHave(id)
		}
		// After a while without a success a lane still gets its message through.
		r.after(10 * time.Minute)
		r.submit("LATER", nil, "bob@good.example")
		r.after(time.Second)
		r.mustNotHave("LATER")
	})
}

// A message to a thousand recipients in 300 lanes that all expire makes one bounce, and one warning.
func TestOneBounceForManyLanes(t *testing.T) {
	oneBounce(t, installed.Rounds(1000, 120), installed.Rounds(300, 40))
}

func oneBounce(t *testing.T, recipients, lanes int) {
	s, bounces := newSink(func(context.Context, *queue.Delivery) error { return refused }), newSink(nil)
	h := &hops{sink: s}
	run(t, bouncesTo(bounces, h), func(r *rig) {
		r.host.g.schedule.Expire, r.host.g.schedule.Warn = 5*time.Hour, time.Hour
		var rcpts []string
		for i := range recipients {
			rcpts = append(rcpts, fmt.Sprintf("bob%d@d%d.example", i, i%lanes))
		}
		r.Start()
		r.submit("Q1", nil, rcpts...)
		r.after(2 * time.Hour)
		if n := len(bounces.all()); n != 1 || strings.Count(bounces.last().message, "Final-Recipient:") != recipients {
			t.Errorf("%d warnings", n)
		}
		r.after(4 * time.Hour)
		if n := len(bounces.all()); n != 2 || strings.Count(bounces.last().message, "Status: 5.4.7") != recipients {
			t.Errorf("%d notifications", n)
		}
		r.mustNotHave("Q1")
	})
}

// A lane that is paused from start to expiry is warned of and bounced in time, once.
func TestPausedUntilExpiry(t *testing.T) {
	s, bounces := newSink(nil), newSink(nil)
	run(t, bouncesTo(bounces, s), func(r *rig) {
		r.host.g.schedule.Expire, r.host.g.schedule.Warn = 5*time.Hour, time.Hour
		r.Start()
		r.submit("Q0", nil, "bob@example.net")
		r.after(time.Second)
		if err := r.Pause(context.Background(), "test", "the disk is changed"); err != nil {
			t.Fatal(err)
		}
		if err := r.Pause(context.Background(), "none", ""); err == nil {
			t.Error("a lane was paused that there is not")
		}
		r.submit("Q1", nil, "bob@example.net")
		r.after(time.Minute)
		m := r.mustHave("Q1")
		if why := r.Why(&m.Status, &m.Jobs[0]); !strings.Contains(why, "the disk is changed") {
			t.Errorf("it waits because %s", why)
		}
		lanes, err := r.Lanes(context.Background())
		if err != nil || len(lanes) != 1 || lanes[0].State != queue.LanePaused || lanes[0].Waiting != 1 {
			t.Errorf("lanes %+v, %v", lanes, err)
		}
		r.after(time.Hour + 2*time.Minute)
		if n := len(bounces.all()); n != 1 || !strings.Contains(bounces.last().message, "Action: delayed") {
			t.Errorf("%d warnings", n)
		}
		r.after(4 * time.Hour)
		if n := len(bounces.all()); n != 2 || !strings.Contains(bounces.last().message, "Action: failed") {
			t.Errorf("%d notifications", n)
		}
		if len(s.all()) != 1 {
			t.Error("a paused lane was visited")
		}
		if err := r.Resume(context.Background(), "test"); err != nil {
			t.Error(err)
		}
		r.submit("Q2", nil, "bob@example.net")
		r.after(time.Second)
		r.mustNotHave("Q2")
	})
}

// A failure that messages of two users meet alike is the lane's; what one user meets, or what is said of
// a recipient, is the message's.
func TestEvidence(t *testing.T) {
	lost := errors.New("the connection was lost after MAIL [4711]")
	for _, c := range []struct {
		name  string
		users []string
		fails func(d *queue.Delivery) error
		down  bool
	}{
		{"one user", []string{"alice", "alice", "alice"}, func(*queue.Delivery) error { return lost }, false},
		{"two users", []string{"alice", "carol"}, func(*queue.Delivery) error { return lost }, true},
		{"two users, of recipients", []string{"alice", "carol"}, func(d *queue.Delivery) error { d.Report(d.Recipients[0], tryLater); return nil }, false},
		{"two users, differently", []string{"alice", "carol"}, func(d *queue.Delivery) error { return errors.New(d.Entry.User) }, false},
		{"unreachable", []string{"alice"}, func(*queue.Delivery) error { return refused }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			run(t, to(newSink(func(_ context.Context, d *queue.Delivery) error { return c.fails(d) })), func(r *rig) {
				r.Start()
				for i, user := range c.users {
					r.submit(fmt.Sprint("Q", i), func(e *queue.Entry) { e.User = user }, "bob@example.net")
					r.after(time.Second)
				}
				lanes, err := r.Lanes(context.Background())
				if err != nil || (lanes[len(lanes)-1].State == queue.LaneDown) != c.down {
					t.Errorf("lanes %+v, %v", lanes, err)
				}
			})
		})
	}
}

// The rate belongs to the lane: no worker sleeps for it.
func TestRate(t *testing.T) {
	s := newSink(nil)
	run(t, to(s), func(r *rig) {
		r.host.g.destination = func(*queue.Recipient) queue.Destination {
			return queue.Destination{Name: "hop", Rate: queue.Rate{Messages: 60, Per: time.Minute}}
		}
		for i := range 100 {
			r.submit(fmt.Sprintf("Q%03d", i), nil, "bob@example.net")
		}
		r.Start()
		r.after(30*time.Second + 500*time.Millisecond)
		if n := len(s.all()); n < 29 || n > 32 {
			t.Errorf("%d in 30 s at one a second", n)
		}
		if now, most := s.atOnce(); now != 0 || most > 1 {
			t.Errorf("%d under way, %d at most", now, most)
		}
		r.after(75 * time.Second)
		if n := len(s.all()); n != 100 {
			t.Errorf("%d in all", n)
		}
	})
}

// A delivery beside the queue takes a place in its lane, and gives up if there is none in time.
func TestVisit(t *testing.T) {
	s := newSink(func(ctx context.Context, _ *queue.Delivery) error {
		select {
		case <-time.After(time.Minute):
		case <-ctx.Done():
		}
		return ctx.Err()
	})
	run(t, to(s), func(r *rig) {
		d := queue.Destination{Name: "hop", Concurrency: 1}
		r.host.g.destination = func(*queue.Recipient) queue.Destination { return d }
		route := queue.Route{Sink: s, Name: "test", Lane: "test/hop", Destination: d}
		r.submit("Q1", nil, "bob@example.net")
		r.submit("Q2", nil, "bob@example.net")
		r.Start()
		r.after(time.Second)
		short, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if _, err := r.Visit(short, route, "alice"); !errors.Is(err, queue.ErrNoPlace) {
			t.Errorf("visit: %v", err)
		}
		done, err := r.Visit(context.Background(), route, "alice") // before Q2, which came earlier
		if err != nil {
			t.Fatal(err)
		}
		r.after(time.Minute)
		if len(s.all()) != 1 {
			t.Error("more than the lane takes")
		}
		delivery := queue.NewDelivery(new(queue.Entry), []*queue.Recipient{{}}, nil)
		done(delivery, nil)
		r.after(time.Second)
		if len(s.all()) != 2 {
			t.Error("the place was not given back")
		}
		done, err = r.Visit(context.Background(), route, "alice")
		if err != nil {
			t.Fatal(err)
		}
		done(delivery, refused)
		if _, err := r.Visit(context.Background(), route, "alice"); !errors.Is(err, queue.ErrNoPlace) {
			t.Errorf("visit of a lane that is down: %v", err)
		}
	})
}

// An Accepted in the future, by a clock that was ahead, counts as now: it expires.
func TestAcceptedInTheFuture(t *testing.T) {
	bounces := newSink(nil)
	run(t, bouncesTo(bounces, newSink(always(tryLater))), func(r *rig) {
		r.submit("Q1", func(e *queue.Entry) { e.Accepted = time.Now().Add(10 * 365 * 24 * time.Hour) }, "bob@example.net")
		if _, err := r.spool.Change(context.Background(), "Q1", func(m *queue.EntryView) error { m.Jobs[0].Due = time.Now(); return nil }); err != nil {
			t.Fatal(err)
		}
		r.Start()
		r.after(6 * 24 * time.Hour)
		r.mustNotHave("Q1")
		if len(bounces.all()) != 1 {
			t.Error("not bounced")
		}
	})
}

// The operator acts on what is being delivered.
func TestDeleteInFlight(t *testing.T) {
	s := newSink(func(context.Context, *queue.Delivery) error { time.Sleep(time.Minute); return tryLater })
	run(t, to(s), func(r *rig) {
		r.submit("Q1", nil, "bob@example.net")
		r.Start()
		r.after(time.Second)
		if n, err := r.spool.Delete(context.Background(), "Q1"); n != 1 || err != nil {
			t.Errorf("%d in flight, %v", n, err)
		}
		r.after(time.Hour)
		r.mustNotHave("Q1")
		if len(s.all()) != 1 || len(r.logs.FilterLevelExact(zap.ErrorLevel).All()) != 0 {
			t.Error(r.logs.All())
		}
	})
}

// Two nodes on one spool: each job is one node's; who loses its lease ends its attempt and records nothing.
func TestTwoNodes(t *testing.T) {
	one := newSink(untilCancelled)
	two := newSink(nil)
	run(t, to(one), func(r *rig) {
		r.submit("Q1", nil, "bob@example.net")
		r.Start()
		r.after(time.Second)
		if len(one.all()) != 1 {
			t.Fatal("no attempt")
		}
		h := new(host)
		h.set(newGeneration(to(two)))
		other := queue.New(r.memory().Node(), h, queue.Options{})
		other.Start()
		r.after(time.Minute)
		if len(two.all()) != 0 {
			t.Error("two nodes at one job")
		}
		r.memory().Cut()
		r.after(time.Minute)
		if now, _ := one.atOnce(); now != 0 || len(two.all()) != 1 {
			t.Errorf("%d attempts go on at the node that was cut off, %d were made by the other", now, len(two.all()))
		}
		r.mustLog(zap.WarnLevel, "the outcome of an attempt came too late: another node has taken over", 0)
		r.memory().Heal()
		r.after(time.Minute)
		r.mustNotHave("Q1")
		other.Stop(context.Background())
	})
}

// A deadline that a new configuration puts off does not have a job leased over and over while its lane
// is down.
func TestDeadlinePutOff(t *testing.T) {
	s := newSink(func(context.Context, *queue.Delivery) error { return refused })
	run(t, to(s), func(r *rig) {
		r.host.g.schedule.Expire = time.Hour
		var leases atomic.Int32
		r.spool.SetFault(func(op string, _ *queue.Entry) error {
			if op == "lease" {
				leases.Add(1)
			}
			return nil
		})
		r.Start()
		r.submit("Q0", nil, "bob@example.net")
		r.after(time.Second)
		r.submit("Q1", nil, "bob@example.net")
		r.after(59 * time.Minute)
		g := newGeneration(to(s))
		g.stamp = "999999-" + strings.SplitN(r.host.g.stamp, "-", 2)[1]
		g.schedule.Expire = 10 * time.Hour
		r.host.set(g)
		r.Wake()
		leases.Store(0)
		r.after(time.Hour)
		r.mustHave("Q1")
		if n := leases.Load(); n > 500 {
			t.Errorf("%d leases", n)
		}
	})
}

// issue 11, isolation: lanes that say nothing, however many, keep nobody from those that nobody has tried yet.
func TestSilentLanesSetAside(t *testing.T) {
	s := newSink(func(ctx context.Context, d *queue.Delivery) error {
		if !strings.Contains(d.Recipients[0].Address, "silent") {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Minute):
			return refused
		}
	})
	run(t, byDomain(s), func(r *rig) {
		var silent, live []string
		for i := range 200 {
			silent = append(silent, fmt.Sprintf("bob@silent%d.example", i))
		}
		for i := range 100 {
			live = append(live, fmt.Sprintf("bob@live%d.example", i))
		}
		r.submit("A", nil, silent...)
		r.Start()
		r.after(time.Second / 2)
		if n, _ := s.atOnce(); n != r.host.g.settings.Workers/2 {
			t.Errorf("%d attempts of %d workers in lanes that nobody knows", n, r.host.g.settings.Workers)
		}
		r.submit("B", nil, live...)
		r.after(10 * time.Second)
		r.mustNotHave("B")
		if n, _ := s.atOnce(); n != 200 {
			t.Errorf("%d attempts wait", n)
		}
	})
}

// What is set aside has a bound.
func TestSetAsideBound(t *testing.T) {
	s := newSink(func(ctx context.Context, d *queue.Delivery) error {
		<-ctx.Done()
		return ctx.Err()
	})
	run(t, byDomain(s), func(r *rig) {
		r.host.g.settings.Workers = 8
		var silent []string
		for i := range 100 {
			silent = append(silent, fmt.Sprintf("bob@silent%d.example", i))
		}
		r.submit("A", nil, silent...)
		r.Start()
		r.after(time.Minute)
		if n, _ := s.atOnce(); n != 4*8+8/2 {
			t.Errorf("%d attempts at once", n)
		}
	})
}

// Lanes that take their time, and let messages through, leave room for those that take a moment, however many they are
// and whosever messages go there.
func TestManySlowLanes(t *testing.T) { manySlowLanes(t, installed.Rounds(20, 5)) }

func manySlowLanes(t *testing.T, lanes int) {
	s := newSink(func(ctx context.Context, d *queue.Delivery) error {
		if strings.Contains(d.Recipients[0].Address, "slow") {
			select {
			case <-time.After(20*time.Second + time.Duration(rand.IntN(20000))*time.Millisecond): // or all would end at once
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	run(t, to(&hops{sink: s, concurrency: 8}), func(r *rig) {
		r.host.g.settings.Workers = installed.Rounds(64, 32) // fewer than the lanes take
		r.Start()
		for i := range 100 * lanes {
			r.submit(fmt.Sprintf("S%04d", i), nil, fmt.Sprintf("bob@slow%d.example", i%lanes))
		}
		r.after(5 * time.Minute) // each lane has all that it takes by now
		if n, _ := s.atOnce(); n != lanes*8 {
			t.Errorf("%d attempts at once, with %d workers", n, r.host.g.settings.Workers)
		}
		for i := range 10 * lanes {
			user := []string{"alice", "carol"}[i%2]
			id := fmt.Sprintf("G%03d", i)
			r.submit(id, func(e *queue.Entry) { e.User = user }, "bob@good.example")
			r.after(100 * time.Millisecond)
			r.mustNotHave(id)
		}
	})
}
