package queue_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// RFC 3461 section 5.2: what becomes of NOTIFY at a sink that is the end, at one whose next hop has
// taken it over, and at one whose next hop knows nothing of it.
func TestSuccess(t *testing.T) {
	for _, tt := range []struct {
		name, notify string
		relayed      func(d *queue.Delivery)
		action       string
	}{
		{"end", "SUCCESS", nil, "delivered"},
		{"end, not asked for", "", nil, ""},
		{"end, failures alone", "FAILURE", nil, ""},
		{"end, never", "NEVER", nil, ""},
		{"relayed", "SUCCESS", func(d *queue.Delivery) { d.Relayed(d.Recipients[0], false) }, "relayed"},
		{"passed on", "SUCCESS", func(d *queue.Delivery) { d.Relayed(d.Recipients[0], true) }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, bounces := newSink(func(_ context.Context, d *queue.Delivery) error {
				if tt.relayed != nil {
					tt.relayed(d)
				}
				return nil
			}), newSink(nil)
			run(t, bouncesTo(bounces, s), func(r *rig) {
				r.Start()
				r.submit("Q1", func(e *queue.Entry) {
					e.EnvelopeID, e.Return = "ENV-1", "FULL"
					if tt.notify != "" {
						e.Recipients[0].Notify = []string{tt.notify}
					}
					e.Recipients[0].ORCPT = "rfc822;bob@example.net"
				}, "bob@example.net")
				r.after(time.Second)
				r.mustNotHave("Q1")
				if tt.action == "" {
					if n := len(bounces.all()); n != 0 {
						t.Errorf("told: %s", bounces.last().message)
					}
					return
				}
				r.mustSee("Q1 delivered bob@example.net test", "Q1 told "+tt.action+" bob@example.net [BOUNCE1]", "BOUNCE1 delivered alice@example.org bounces")
				m := bounces.last().message
				for _, want := range []string{"Action: " + tt.action, "Status: 2.0.0", "Original-Envelope-Id: ENV-1", "Original-Recipient: rfc822; bob@example.net"} {
					if !strings.Contains(m, want+"\r\n") {
						t.Errorf("no %s in\n%s", want, m)
					}
				}
				if strings.Contains(m, "Body text") {
					t.Error("RET=FULL is for failures (RFC 3461 section 4.3)")
				}
			})
		})
	}
}

// The sender is told of a delay once.
func TestDelay(t *testing.T) {
	s, bounces := newSink(byAddress), newSink(nil)
	run(t, bouncesTo(bounces, s), func(r *rig) {
		r.host.g.schedule.Warn = 4 * time.Hour
		r.host.g.schedule.Expire = 24 * time.Hour
		r.Start()
		r.submit("Q1", func(e *queue.Entry) { e.Recipients[1].Notify = []string{"FAILURE"} }, "busy@example.net", "busy@example.org", "fine@example.net")
		r.after(4*time.Hour - time.Minute)
		if n := len(bounces.all()); n != 0 {
			t.Fatalf("%d notifications before the time", n)
		}
		r.after(20 * time.Minute)
		if n := len(bounces.all()); n != 1 {
			t.Fatalf("%d notifications", n)
		}
		m := bounces.last().message
		for _, want := range []string{"Action: delayed\r\n", "Status: 4.2.0\r\n", "Will-Retry-Until: ", "Final-Recipient: rfc822; busy@example.net\r\n"} {
			if !strings.Contains(m, want) {
				t.Errorf("no %q in\n%s", want, m)
			}
		}
		if strings.Contains(m, "busy@example.org\r\n") || strings.Contains(m, "fine@example.net") {
			t.Errorf("too much in\n%s", m)
		}
		r.after(19 * time.Hour)
		if n := len(bounces.all()); n != 1 {
			t.Errorf("%d notifications of one delay", n)
		}
		r.after(2 * time.Hour)
		if n := len(bounces.all()); n != 2 || !strings.Contains(bounces.last().message, "Action: failed") {
			t.Errorf("%d notifications", n)
		}
	})
}

// Nobody is told of the delay of what has arrived meanwhile.
func TestDelayOver(t *testing.T) {
	s, bounces := newSink(byAddress), newSink(nil)
	run(t, bouncesTo(bounces, s), func(r *rig) {
		r.host.g.schedule.Warn, r.host.g.schedule.Retry = time.Hour, []time.Duration{61 * time.Minute}
		r.Start()
		r.submit("Q1", nil, "busy@example.net")
		r.after(60*time.Minute + time.Second)
		if m := r.mustHave("Q1"); len(m.Status.Notes) != 1 {
			t.Errorf("%+v", m.EntryView)
		}
		s.become(nil)
		r.after(time.Minute)
		r.mustNotHave("Q1")
		r.after(time.Hour)
		if n := len(bounces.all()); n != 0 {
			t.Errorf("%d notifications", n)
		}
	})
}

// A delay that cannot be told is told later.
func TestDelayCannotBeStored(t *testing.T) {
	s, bounces := newSink(byAddress), newSink(nil)
	run(t, bouncesTo(bounces, s), func(r *rig) {
		r.host.g.schedule.Warn = time.Hour
		var full atomic.Bool
		r.spool.SetFault(func(op string, _ *queue.Entry) error {
			if op == "create" && full.Load() {
				return queue.ErrFull
			}
			return nil
		})
		r.submit("Q1", nil, "busy@example.net")
		full.Store(true)
		r.Start()
		r.after(2 * time.Hour)
		if e := r.mustHave("Q1"); len(e.Status.Notes) != 1 || len(r.logged("a notification cannot be stored yet")) == 0 {
			t.Errorf("%+v", e.EntryView)
		}
		full.Store(false)
		r.after(time.Hour)
		if e := r.mustHave("Q1"); len(e.Status.Notes) != 0 || len(bounces.all()) != 1 {
			t.Errorf("%+v, %d", e.EntryView, len(bounces.all()))
		}
	})
}

// Routes have schedules of their own, also within one entry.
func TestRouteSchedule(t *testing.T) {
	s := newSink(byAddress)
	run(t, to(s), func(r *rig) {
		slow := &queue.Schedule{Retry: []time.Duration{2 * time.Hour}, Expire: 5 * time.Hour}
		r.host.g.own = nil
		r.host.g.route = func(_ *queue.Entry, rcpt *queue.Recipient) (queue.Sink, string, error) { return s, rcpt.Address, nil }
		r.host.g.ownFor = map[string]*queue.Schedule{"busy@slow.example": slow}
		r.submit("Q1", func(e *queue.Entry) { e.ReturnPath = false }, "busy@quick.example", "busy@slow.example")
		r.Start()
		r.after(6*time.Hour + time.Minute)
		var quick, late []time.Duration
		for _, c := range s.all() {
			switch c.rcpts {
			case "busy@quick.example":
				quick = append(quick, c.after)
			case "busy@slow.example":
				late = append(late, c.after)
			}
		}
		if len(late) != 4 || late[1] != 2*time.Hour || late[3] != 5*time.Hour {
			t.Errorf("slow: %v", late)
		}
		if len(quick) < 20 || quick[1] != time.Minute || quick[2] != 6*time.Minute {
			t.Errorf("quick: %v", quick)
		}
		if e := r.mustHave("Q1"); e.Recipients[1].State != queue.Failed || e.Recipients[0].State != queue.Pending {
			t.Errorf("%+v", e)
		}
	})
}

// A message that failed for good stays for the operator as long as that is wanted.
func TestDeadLetters(t *testing.T) {
	s, bounces := newSink(byAddress), newSink(nil)
	run(t, bouncesTo(bounces, s), func(r *rig) {
		r.host.g.schedule.Keep = 24 * time.Hour
		r.Start()
		r.submit("Q1", nil, "gone@example.net", "fine@example.net")
		r.submit("Q2", nil, "fine@example.net")
		r.after(time.Minute)
		r.mustNotHave("Q2", "BOUNCE1")
		e := r.mustHave("Q1")
		if e.Status.Dead.IsZero() || e.Recipients[0].State != queue.Failed || len(bounces.all()) != 1 {
			t.Errorf("%+v", e)
		}
		if h := e.History; len(h) != 3 || h[0].What != "failed" || h[0].Text != "550 5.1.1 No such user" || h[1].What != "delivered" || h[2].What != "bounced" || h[2].Notification != "BOUNCE1" {
			t.Errorf("history %+v", h)
		}
		attempts := len(s.all())
		r.after(23 * time.Hour)
		r.mustHave("Q1")
		r.after(2 * time.Hour)
		r.mustNotHave("Q1")
		if len(s.all()) != attempts {
			t.Error("a dead letter was attempted")
		}
		r.mustLog(zap.WarnLevel, "sender told of the failure", 1)
	})
}

// A history does not grow without end, and shows how it began.
func TestHistory(t *testing.T) {
	s := newSink(func(context.Context, *queue.Delivery) error {
		return errors.New("no room: \r\n" + strings.Repeat("x", 5000))
	})
	run(t, to(s), func(r *rig) {
		r.host.g.schedule.Retry = []time.Duration{time.Minute}
		r.submit("Q1", nil, "bob@example.net")
		r.Start()
		r.after(10 * time.Hour)
		h := r.mustHave("Q1").History
		if len(h) != 20 || !h[0].Time.Equal(r.began) || len(h[19].Text) > 1000 {
			t.Errorf("%d events, the first at %v", len(h), h[0].Time)
		}
	})
}
