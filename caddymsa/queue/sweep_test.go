package queue_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue/queuetest"
)

// stamper knows the stamps of its jobs, and counts how often it is asked for all messages.
type stamper struct {
	*queuetest.MemSpool
	stamps []string
	lists  atomic.Int32
}

func (s *stamper) Stamps() []string { return s.stamps }

func (s *stamper) List(ctx context.Context, after string, yield func(*queue.EntryView) bool) error {
	s.lists.Add(1)
	return s.MemSpool.List(ctx, after, yield)
}

// A start looks at the messages that wait only if one of them may have been routed by other routes.
func TestSweepIsSpared(t *testing.T) {
	for _, tt := range []struct {
		name   string
		stamps []string
		looks  bool
	}{
		{"none", nil, false},
		{"the same routes", []string{"000009-same"}, false},
		{"others too", []string{"000009-same", "000008-other"}, true},
		{"not known", []string{""}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				spool := &stamper{MemSpool: queuetest.NewMemSpool(), stamps: tt.stamps}
				g := newGeneration(to(newSink(nil)))
				g.stamp = "000010-same"
				sweep(t, spool, g)
				if looked := spool.lists.Load() > 0; looked != tt.looks {
					t.Errorf("looked: %v, wanted %v", looked, tt.looks)
				}
			})
		})
	}
}

// sweep runs a queue for a minute.
func sweep(t *testing.T, spool queue.Spool, g *generation) {
	h := new(host)
	h.set(g)
	q := queue.New(spool, h, queue.Options{})
	q.Start()
	time.Sleep(time.Minute)
	q.Stop(t.Context())
}

// stuck has a lane in which one message always is, whatever it was asked for.
type stuck struct {
	*queuetest.MemSpool
	asked atomic.Int32
}

func (s *stuck) Lanes(_ context.Context, yield func(queue.LaneInfo) bool) error {
	yield(queue.LaneInfo{Name: "gone"})
	return nil
}

func (s *stuck) InLane(context.Context, string, string, int) ([]string, error) {
	if s.asked.Add(1) > 100 {
		return nil, nil
	}
	return []string{"none"}, nil
}

// A sweep ends although a lane that is no more does not become empty.
func TestSweepEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spool := &stuck{MemSpool: queuetest.NewMemSpool()}
		g := newGeneration(to(newSink(nil)))
		g.gone = "gone"
		sweep(t, spool, g)
		if n := spool.asked.Load(); n != 1 {
			t.Errorf("the lane was asked for %d times", n)
		}
	})
}

// Times that a reload makes shorter count for what waits in a lane that takes nothing.
func TestSweepShortens(t *testing.T) {
	s, bounces := newSink(nil), newSink(nil)
	run(t, bouncesTo(bounces, s), func(r *rig) {
		r.Start()
		r.submit("Q0", nil, "bob@example.net")
		r.after(time.Second)
		if err := r.Pause(context.Background(), "test", ""); err != nil {
			t.Fatal(err)
		}
		r.submit("Q1", nil, "bob@example.net")
		r.after(time.Minute)
		g := newGeneration(r.host.g.route)
		g.schedule.Expire, g.schedule.Warn = 2*time.Hour, time.Hour
		r.host.set(g)
		r.Wake()
		r.after(time.Hour + 2*time.Minute)
		if n := len(bounces.all()); n != 1 {
			t.Errorf("%d notifications after the time of the warning", n)
		}
		r.after(time.Hour)
		r.mustNotHave("Q1")
		if n := len(bounces.all()); n != 2 || len(s.all()) != 1 {
			t.Errorf("%d notifications in the end, %d visits", n, len(s.all()))
		}
	})
}
