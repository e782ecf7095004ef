package queue_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// byAddress fares as the recipient's local part says.
func byAddress(_ context.Context, d *queue.Delivery) error {
	for _, r := range d.Recipients {
		switch local, _, _ := strings.Cut(r.Address, "@"); local {
		case "gone":
			r.RemoteMTA = "mx.example.net"
			d.Report(r, noSuchUser)
		case "busy":
			d.Report(r, tryLater)
		case "never":
			d.Report(r, queue.Permanent(errors.New("open /var/mail/x: no such directory")))
		case "down":
			d.Report(r, errors.New("dial tcp 192.0.2.1:25: connection refused"))
		}
	}
	return nil
}

// bouncesTo routes bounces to one sink and the rest to another.
func bouncesTo(bounces, rest queue.Sink) routeFunc {
	return func(e *queue.Entry, _ *queue.Recipient) (queue.Sink, string, error) {
		if e.Bounce {
			return bounces, "bounces", nil
		}
		return rest, "test", nil
	}
}

func TestRecipientsFareDifferently(t *testing.T) {
	s, bounces := newSink(byAddress), newSink(nil)
	run(t, bouncesTo(bounces, s), func(r *rig) {
		r.submit("Q1", func(e *queue.Entry) { e.EnvelopeID = "ENV-1"; e.Priority = 4 },
			"fine@example.net", "gone@example.net", "busy@example.net", "never@example.net")
		r.Start()
		r.after(3 * time.Minute)
		e := r.mustHave("Q1")
		var states []string
		for _, r := range e.Recipients {
			states = append(states, string(r.State))
		}
		if got := strings.Join(states, ","); got != "delivered,failed,,failed" {
			t.Errorf("states %s", got)
		}
		c := bounces.last()
		if b := c.entry; b.Sender != "" || !b.Bounce || b.ReturnPath || b.Server != "main" || b.Body != "7BIT" || b.Size != int64(len(c.message)) || b.Priority != 4 || b.User != "" {
			t.Errorf("bounce %+v", b)
		}
		if len(bounces.all()) != 1 || c.rcpts != "alice@example.org" {
			t.Errorf("bounces %+v", bounces.all())
		}
		for _, want := range []string{
			"Final-Recipient: rfc822; gone@example.net\r\n", "Remote-MTA: dns; mx.example.net\r\n", "Diagnostic-Code: smtp; 550 5.1.1 No such user\r\n",
			"Final-Recipient: rfc822; never@example.net\r\n", "Status: 5.0.0\r\n", "Original-Envelope-Id: ENV-1\r\n",
			"To: <alice@example.org>\r\n", "Subject: Hello\r\n", "@msa.example.org>\r\n",
		} {
			if !strings.Contains(c.message, want) {
				t.Errorf("the bounce lacks %q:\n%s", want, c.message)
			}
		}
		for _, unwanted := range []string{"fine@", "busy@", "/var/mail", "Body text"} {
			if strings.Contains(c.message, unwanted) {
				t.Errorf("the bounce has %q:\n%s", unwanted, c.message)
			}
		}
		r.after(4 * time.Minute)
		if c := s.last(); c.rcpts != "busy@example.net" {
			t.Errorf("then %q was tried", c.rcpts)
		}
		r.mustLog(zap.WarnLevel, "delivery failed", 2)
		r.mustLog(zap.WarnLevel, "sender told of the failure", 1)
		if f := r.logged("delivery failed")[0].ContextMap(); f["remote_mta"] != "mx.example.net" || f["reply"] != "550 5.1.1 No such user" {
			t.Errorf("fields %v", f)
		}
	})
}

func TestOneBounceForAllSinks(t *testing.T) {
	bounces := newSink(nil)
	one, two := newSink(always(noSuchUser)), newSink(always(queue.Permanent(io.ErrNoProgress)))
	route := func(e *queue.Entry, r *queue.Recipient) (queue.Sink, string, error) {
		switch {
		case e.Bounce:
			return bounces, "bounces", nil
		case strings.HasSuffix(r.Address, ".com"):
			return one, "one", nil
		}
		return two, "two", nil
	}
	run(t, route, func(r *rig) {
		r.submit("Q1", nil, "a@example.com", "b@example.net", "c@example.com")
		r.Start()
		r.after(0)
		if c := one.all(); len(c) != 1 || c[0].rcpts != "a@example.com c@example.com" {
			t.Errorf("first sink: %+v", c)
		}
		if n := len(bounces.all()); n != 1 || strings.Count(bounces.last().message, "Final-Recipient:") != 3 {
			t.Errorf("%d bounces", n)
		}
		r.mustNotHave("Q1", "BOUNCE1")
		r.mustSeeAll(
			"Q1 failed a@example.com one", "Q1 failed c@example.com one", "Q1 failed b@example.net two",
			"Q1 gave up a@example.com [BOUNCE1] ", "Q1 gave up c@example.com [BOUNCE1] ", "Q1 gave up b@example.net [BOUNCE1] ",
			"BOUNCE1 delivered alice@example.org bounces",
		)
	})
}

func TestExpire(t *testing.T) {
	s, bounces := newSink(byAddress), newSink(nil)
	run(t, bouncesTo(bounces, s), func(r *rig) {
		r.host.g.schedule.Expire = 30 * time.Minute
		r.submit("Q1", nil, "busy@example.net", "down@example.net")
		r.Start()
		r.after(30*time.Minute - time.Second)
		r.mustHave("Q1")
		if len(bounces.all()) != 0 {
			t.Error("bounced too early")
		}
		r.after(2 * time.Second)
		r.mustNotHave("Q1")
		message := bounces.last().message
		if n := strings.Count(message, "Status: 5.4.7\r\n"); n != 2 {
			t.Errorf("%d times 5.4.7:\n%s", n, message)
		}
		if !strings.Contains(message, "Diagnostic-Code: smtp; 451 4.2.0 Mailbox busy\r\n") || strings.Contains(message, "192.0.2.1") {
			t.Errorf("bounce:\n%s", message)
		}
		if last := s.last().after; last != 21*time.Minute {
			t.Errorf("last tried after %v", last) // no visit that is due is later
		}
		r.mustLog(zap.WarnLevel, "delivery failed", 2)
	})
}

// What lay still while the server was down is tried once, however old.
func TestExpiredIsTriedFirst(t *testing.T) {
	s := newSink(nil)
	run(t, to(s), func(r *rig) {
		r.submit("Q1", nil, "bob@example.net")
		r.after(6 * 24 * time.Hour)
		r.Start()
		r.after(0)
		r.mustNotHave("Q1")
		r.mustSee("Q1 delivered bob@example.net test")
	})
}

func TestWhoIsTold(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*queue.Entry)
		bounce bool
		reason string
	}{
		{"by default", nil, true, ""},
		{"NOTIFY=FAILURE", func(e *queue.Entry) { e.Recipients[0].Notify = []string{"DELAY", "FAILURE"} }, true, ""},
		{"NOTIFY=NEVER", func(e *queue.Entry) { e.Recipients[0].Notify = []string{"NEVER"} }, false, "the sender asked not to be told"},
		{"NOTIFY=SUCCESS", func(e *queue.Entry) { e.Recipients[0].Notify = []string{"SUCCESS"} }, false, "the sender asked not to be told"},
		{"no sender", func(e *queue.Entry) { e.Sender = "" }, false, "the message has no return path"},
		{"not the sender's own", func(e *queue.Entry) { e.ReturnPath = false }, false, "the return path is not one of the sender's own addresses"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bounces := newSink(nil)
			run(t, bouncesTo(bounces, newSink(byAddress)), func(r *rig) {
				r.submit("Q1", c.change, "gone@example.net")
				r.Start()
				r.after(time.Hour)
				r.mustNotHave("Q1")
				if got := len(bounces.all()) == 1; got != c.bounce {
					t.Errorf("bounced: %v", got)
				}
				want := []string{"Q1 failed gone@example.net test"}
				if c.bounce {
					want = append(want, "Q1 gave up gone@example.net [BOUNCE1] ", "BOUNCE1 delivered alice@example.org bounces")
				} else {
					want = append(want, "Q1 gave up gone@example.net [] "+c.reason)
					if n := len(r.logged("failure that nobody is told of")); n != 1 {
						t.Errorf("logged %d times", n)
					}
				}
				r.mustSee(want...)
			})
		})
	}
}

func TestReturnFull(t *testing.T) {
	bounces := newSink(nil)
	run(t, bouncesTo(bounces, newSink(byAddress)), func(r *rig) {
		r.submit("Q1", func(e *queue.Entry) { e.Return = "FULL" }, "gone@example.net")
		r.Start()
		r.after(0)
		if !strings.Contains(bounces.last().message, letter) {
			t.Errorf("bounce:\n%s", bounces.last().message)
		}
	})
}

func TestBounceIsNotBounced(t *testing.T) {
	s := newSink(always(noSuchUser))
	run(t, to(s), func(r *rig) {
		r.submit("Q1", nil, "gone@example.net")
		r.Start()
		r.after(6 * 24 * time.Hour)
		if n := len(s.all()); n != 2 {
			t.Errorf("%d deliveries", n)
		}
		r.mustNotHave("Q1", "BOUNCE1")
		r.mustLog(zap.ErrorLevel, "failure that nobody is told of", 1)
		r.mustSee("Q1 failed gone@example.net test", "Q1 gave up gone@example.net [BOUNCE1] ",
			"BOUNCE1 failed alice@example.org test", "BOUNCE1 gave up alice@example.org [] a bounce is not bounced")
	})
}

func TestBounceWithoutRouteIsHeld(t *testing.T) { // docs/dev/architecture.md, decision 7: never silence
	s := newSink(byAddress)
	route := func(e *queue.Entry, _ *queue.Recipient) (queue.Sink, string, error) {
		if e.Bounce {
			return nil, "", fmt.Errorf("%w: none at all", queue.ErrNoRoute)
		}
		return s, "test", nil
	}
	run(t, route, func(r *rig) {
		r.submit("Q1", nil, "gone@example.net")
		r.Start()
		r.after(6 * 24 * time.Hour)
		if e := r.mustHave("BOUNCE1"); e.Held == "" || e.Recipients[0].State != queue.Pending {
			t.Errorf("bounce %+v", e)
		}
		r.mustLog(zap.ErrorLevel, "bounce on hold", 1)
		r.mustSee("Q1 failed gone@example.net test", "Q1 gave up gone@example.net [BOUNCE1] ",
			"BOUNCE1 deferred alice@example.org ", "BOUNCE1 held")

		// The operator adds a route and releases it.
		bounces := newSink(nil)
		r.host.set(newGeneration(to(bounces)))
		r.Wake()
		if _, err := r.spool.Change(context.Background(), "BOUNCE1", func(m *queue.EntryView) error {
			m.Status.Held, m.Jobs[0].Due = "", time.Now()
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		r.after(0)
		r.mustNotHave("BOUNCE1")
		if len(bounces.all()) != 1 {
			t.Error("not delivered")
		}
	})
}

func TestNoRoute(t *testing.T) {
	bounces := newSink(nil)
	none := func(e *queue.Entry, r *queue.Recipient) (queue.Sink, string, error) {
		if e.Bounce {
			return bounces, "bounces", nil
		}
		if r.Address == "b@example.net" {
			return nil, "", nil // is no route either
		}
		return nil, "", queue.ErrNoRoute
	}
	run(t, none, func(r *rig) {
		r.host.g.schedule.Expire = time.Hour
		r.submit("Q1", nil, "a@example.net", "b@example.net")
		r.Start()
		r.after(time.Hour - time.Second)
		r.mustHave("Q1")
		if len(bounces.all()) != 0 {
			t.Error("bounced before it expired")
		}
		lines := r.logged("delivery deferred")
		if len(lines) == 0 || lines[0].Level != zap.ErrorLevel {
			t.Errorf("lines %v", lines)
		}
		r.after(time.Second)
		r.mustNotHave("Q1")
		if len(bounces.all()) != 1 {
			t.Error("not bounced when it expired")
		}
	})
}

func TestPanics(t *testing.T) {
	var routePanics atomic.Bool
	s := newSink(func(_ context.Context, d *queue.Delivery) error {
		d.Report(d.Recipients[0], nil)
		var none *smtp.SMTPError
		return errors.New(none.Message) // panics
	})
	route := func(*queue.Entry, *queue.Recipient) (queue.Sink, string, error) {
		if routePanics.Load() {
			panic("no map")
		}
		return s, "test", nil
	}
	run(t, route, func(r *rig) {
		r.submit("Q1", nil, "a@example.net", "b@example.net")
		r.Start()
		r.after(time.Second)
		e := r.mustHave("Q1")
		if e.Recipients[0].State != queue.Delivered || e.Recipients[1].State != queue.Pending || e.Attempts != 1 {
			t.Errorf("entry %+v", e)
		}
		r.mustLog(zap.ErrorLevel, "a sink panicked; please report this", 1)
		if at := r.logged("a sink panicked; please report this")[0].ContextMap()["panic_at"].(string); !strings.Contains(at, "TestPanics") || !strings.Contains(at, "failure_test.go:") {
			t.Errorf("panicked at %q", at)
		}
		routePanics.Store(true)
		r.after(time.Minute)
		if e := r.mustHave("Q1"); e.Attempts != 2 {
			t.Errorf("entry %+v", e)
		}
		r.mustLog(zap.ErrorLevel, "a route panicked; please report this", 1)
	})
}

// A nil pointer in an error is a mistake that is often made; it is no success.
func TestTypedNil(t *testing.T) {
	s := newSink(func(context.Context, *queue.Delivery) error {
		var err *smtp.SMTPError
		return err
	})
	run(t, to(s), func(r *rig) {
		r.submit("Q1", nil, "a@example.net")
		r.Start()
		r.after(time.Second)
		if e := r.mustHave("Q1"); e.Attempts != 1 || e.Recipients[0].State != queue.Pending {
			t.Errorf("entry %+v", e)
		}
	})
}

// The bounce and the mark that it was sent are one commit: a crash before it neither loses nor
// repeats a bounce.
func TestCrashBeforeBounce(t *testing.T) {
	bounces := newSink(nil)
	run(t, bouncesTo(bounces, newSink(byAddress)), func(r *rig) {
		var crashed atomic.Bool
		r.spool.SetFault(func(op string, e *queue.Entry) error {
			if op == "commit" && e.Bounce && !crashed.Swap(true) {
				r.spool.Close()
				return queue.ErrClosed
			}
			return nil
		})
		r.submit("Q1", nil, "gone@example.net")
		r.Start()
		r.after(time.Second)
		r.spool.Reopen()
		r.after(time.Minute)
		r.mustNotHave("Q1", "BOUNCE1", "BOUNCE2")
		if n := len(bounces.all()); n != 1 {
			t.Errorf("%d bounces", n)
		}
	})
}

func TestBounceCannotBeStored(t *testing.T) {
	bounces, s := newSink(nil), newSink(byAddress)
	run(t, bouncesTo(bounces, s), func(r *rig) {
		var full atomic.Bool
		full.Store(true)
		r.spool.SetFault(func(op string, e *queue.Entry) error {
			if full.Load() && op == "commit" && e.Bounce {
				return queue.ErrFull
			}
			return nil
		})
		r.submit("Q1", nil, "gone@example.net", "fine@example.net")
		r.Start()
		r.after(30 * time.Second)
		e := r.mustHave("Q1")
		if e.Recipients[0].State != queue.Failed || e.Recipients[1].State != queue.Delivered {
			t.Errorf("entry %+v", e.EntryView)
		}
		r.mustLog(zap.ErrorLevel, "a notification cannot be stored yet", 1)
		full.Store(false)
		r.after(time.Minute)
		r.mustNotHave("Q1")
		if n := len(bounces.all()); n != 1 {
			t.Errorf("%d bounces", n)
		}
	})
}

// A message that cannot be read any more is still reported to its sender.
func TestBounceOfUnreadableMessage(t *testing.T) {
	bounces := newSink(nil)
	run(t, bouncesTo(bounces, newSink(byAddress)), func(r *rig) {
		r.spool.SetFault(func(op string, e *queue.Entry) error {
			if op == "open" && e.ID == "Q1" {
				return errors.New("the disk is broken")
			}
			return nil
		})
		r.submit("Q1", nil, "gone@example.net")
		r.Start()
		r.after(time.Second)
		r.mustNotHave("Q1")
		if m := bounces.last().message; !strings.Contains(m, "Final-Recipient: rfc822; gone@example.net") || strings.Contains(m, "Subject: Hello") {
			t.Errorf("bounce:\n%s", m)
		}
	})
}

// sinkFunc is a sink that cannot be compared with another.
type sinkFunc func(context.Context, *queue.Delivery) error

func (f sinkFunc) Deliver(ctx context.Context, d *queue.Delivery) error { return f(ctx, d) }

func TestSinksThatCannotBeCompared(t *testing.T) {
	var n atomic.Int32
	s := sinkFunc(func(_ context.Context, d *queue.Delivery) error {
		n.Add(int32(len(d.Recipients)))
		return nil
	})
	run(t, to(s), func(r *rig) {
		r.submit("Q1", nil, "a@example.net", "b@example.net", "c@example.net")
		r.Start()
		r.after(0)
		r.mustNotHave("Q1")
		if n.Load() != 3 {
			t.Errorf("%d delivered", n.Load())
		}
	})
}

// What a next hop says is cut to one short line.
func TestHostileReply(t *testing.T) {
	bounces := newSink(nil)
	s := newSink(always(reply(550, smtp.EnhancedCode{5, 1, 1}, "no\r\nSubject: forged\r\n\r\n--\x00\x1b[2J\u2028\xff "+strings.Repeat("x", 1<<20))))
	run(t, bouncesTo(bounces, s), func(r *rig) {
		r.submit("Q1", nil, "bob@example.net")
		r.Start()
		r.after(0)
		m := bounces.last().message
		if strings.Contains(m, "\nSubject: forged") || strings.ContainsAny(m, "\x00\x1b") || strings.Contains(m, "\xff") || len(m) > 4000 {
			t.Errorf("bounce of %d octets:\n%.3000s", len(m), m)
		}
		for i, line := range bytes.Split([]byte(m), []byte("\r\n")) {
			if len(line) > 998 || bytes.ContainsAny(line, "\r\n") {
				t.Errorf("line %d: %.1200q", i, line)
			}
		}
	})
}

// What this server says itself of a recipient, the operator or the routes, is not told as the words of a next hop that
// was asked before.
func TestOwnWords(t *testing.T) {
	for _, c := range []struct {
		name, says string
		does       func(r *rig)
	}{
		{"given up", "the operator has had enough", func(r *rig) {
			if _, err := r.spool.Change(context.Background(), "Q1", func(m *queue.EntryView) error {
				m.Status.GivenUp, m.Status.GivenUpAt = "the operator has had enough", time.Now()
				m.Jobs[0].Due, m.Jobs[0].Deadline = time.Now(), time.Now()
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}},
		{"no route", "goes nowhere", func(r *rig) {
			route := r.host.g.route
			r.host.set(newGeneration(func(e *queue.Entry, rcpt *queue.Recipient) (queue.Sink, string, error) {
				if e.Bounce {
					return route(e, rcpt)
				}
				return nil, "", reply(550, smtp.EnhancedCode{5, 1, 2}, "it goes nowhere")
			}))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, bounces := newSink(func(_ context.Context, d *queue.Delivery) error {
				d.Recipients[0].RemoteMTA = "mx.example.net"
				return tryLater
			}), newSink(nil)
			run(t, bouncesTo(bounces, s), func(r *rig) {
				r.Start()
				r.submit("Q1", nil, "bob@example.net")
				r.after(time.Second)
				c.does(r)
				r.Wake()
				r.after(time.Hour)
				if m := bounces.last().message; len(bounces.all()) != 1 || !strings.Contains(m, c.says) || strings.Contains(m, "mx.example.net") {
					t.Errorf("%d bounces:\n%s", len(bounces.all()), m)
				}
			})
		})
	}
}
