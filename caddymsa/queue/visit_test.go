package queue_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// visitor makes deliveries beside the queue, and says what the lane is like then.
func (r *rig) visitor(ctx context.Context) func(user string, tell func(*queue.Delivery), returned error) queue.Lane {
	route := queue.Route{Sink: newSink(nil), Name: "test", Lane: "test"}
	return func(user string, tell func(*queue.Delivery), returned error) queue.Lane {
		r.Helper()
		done, err := r.Visit(ctx, route, user)
		if err != nil {
			r.Fatal(err)
		}
		d := queue.NewDelivery(&queue.Entry{User: user}, []*queue.Recipient{{Address: "bob@example.net"}}, nil)
		if tell != nil {
			tell(d)
		}
		done(d, returned)
		return r.lane("test")
	}
}

func (r *rig) lane(name string) queue.Lane {
	r.Helper()
	all, err := r.Lanes(context.Background())
	if err != nil {
		r.Fatal(err)
	}
	for _, l := range all {
		if l.Name == name {
			return l
		}
	}
	r.Fatalf("there is no lane %s", name)
	return queue.Lane{}
}

// A delivery beside the queue is as good evidence as one of the queue's own.
func TestVisitIsEvidence(t *testing.T) {
	busy := reply(421, smtp.EnhancedCode{4, 3, 2}, "go away")
	run(t, to(newSink(nil)), func(r *rig) {
		r.Start()
		visit := r.visitor(context.Background())
		if l := visit("alice", func(d *queue.Delivery) { d.Answered(d.Recipients[0], queue.Answer{Reply: "250 2.0.0 queued as 7"}) }, nil); l.Answer != "250 2.0.0 queued as 7" {
			t.Errorf("the last answer is %q", l.Answer)
		}
		for range 2 { // of the recipient
			for _, user := range []string{"alice", "carol"} {
				if l := visit(user, func(d *queue.Delivery) { d.Report(d.Recipients[0], busy) }, nil); l.State != queue.LaneUp {
					t.Errorf("%+v", l)
				}
			}
		}
		if l := visit("alice", nil, busy); l.State != queue.LaneUp {
			t.Errorf("after one user's failure: %+v", l)
		}
		if l := visit("carol", nil, busy); l.State != queue.LaneDown || !strings.Contains(l.Cause, "go away") {
			t.Errorf("after two users' failures: %+v", l)
		}
	})
}

// An attempt that was interrupted is nobody's answer.
func TestInterruptedIsNoAnswer(t *testing.T) {
	run(t, to(newSink(untilCancelled)), func(r *rig) {
		r.submit("Q1", nil, "bob@example.net")
		r.Start()
		r.after(time.Second)
		first := r.host.g
		r.host.set(newGeneration(to(newSink(untilCancelled))))
		first.leave()
		r.after(time.Second)
		if l := r.lane("test"); l.Answer != "" {
			t.Errorf("the last answer is %q", l.Answer)
		}
		ctx, cancel := context.WithCancel(context.Background())
		visit := r.visitor(ctx)
		if l := visit("alice", func(*queue.Delivery) { cancel() }, context.Canceled); l.Answer != "" {
			t.Errorf("the last answer is %q", l.Answer)
		}
	})
}

// A lane that is down is so since it went down, also when it was paused meanwhile.
func TestDownSince(t *testing.T) {
	run(t, to(newSink(always(refused))), func(r *rig) {
		r.submit("Q1", nil, "bob@example.net")
		r.Start()
		r.after(time.Hour)
		if err := r.Pause(context.Background(), "test", ""); err != nil {
			t.Fatal(err)
		}
		paused := time.Now()
		r.after(time.Hour)
		if l := r.lane("test"); l.State != queue.LanePaused || !l.Since.Equal(paused) {
			t.Errorf("%+v", l)
		}
		if err := r.Resume(context.Background(), "test"); err != nil {
			t.Fatal(err)
		}
		if l := r.lane("test"); l.State != queue.LaneDown || !l.Since.Equal(r.began) {
			t.Errorf("%+v", l)
		}
	})
}
