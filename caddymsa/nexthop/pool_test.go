package nexthop_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop/hoptest"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// An idle connection that died is replaced before anything is lost.
func TestDeadConnection(t *testing.T) {
	t.Parallel()
	for _, goodbye := range []string{"close", "421 4.4.2 idle too long"} {
		if err := diesIdle(t, goodbye, time.Minute); err != nil {
			t.Errorf("%s: %v", goodbye, err)
		}
	}
	err := errors.New("not tried")
	for timeout := time.Second; err != nil && timeout < 2*time.Minute; timeout *= 8 { // it is waited for briefly, and for longer where a busy machine says as little
		err = diesIdle(t, "stall", timeout)
	}
	if err != nil {
		t.Error("stall:", err)
	}
	// On a fresh connection it is an error, not a loop.
	h := hoptest.New(t, hoptest.On("MAIL", "close"))
	wantTemporary(t, to(h, nil).Deliver(t.Context(), msatest.NewDelivery([]byte(text), "bob@example.org")), "MAIL")
	if h.Connections() != 1 {
		t.Errorf("%d connections", h.Connections())
	}
}

// diesIdle delivers three messages to a hop whose first connection dies between the first and the second.
func diesIdle(t *testing.T, goodbye string, timeout time.Duration) error {
	t.Helper()
	var first bool
	h := hoptest.New(t, func(h *hoptest.Hop) {
		h.Reply = func(line string) string {
			if !strings.HasPrefix(line, "MAIL") || h.Connections() > 1 {
				return ""
			}
			if first = !first; first {
				return ""
			}
			return goodbye
		}
	})
	r := to(h, func(o *nexthop.Options) { o.Command = timeout })
	for range 3 {
		d := msatest.NewDelivery([]byte(text), "bob@example.org")
		if err := r.Deliver(t.Context(), d); err != nil || d.Recipients[0].RemoteMTA != "" {
			return fmt.Errorf("%q: %w", d.Recipients[0].RemoteMTA, err)
		}
	}
	if h.Connections() != 2 || len(h.Messages()) != 3 {
		return fmt.Errorf("%d connections, %d messages", h.Connections(), len(h.Messages()))
	}
	return nil
}

func TestPool(t *testing.T) {
	deliver := func(r sink) {
		t.Helper()
		if err := r.Deliver(t.Context(), msatest.NewDelivery([]byte(text), "bob@example.org")); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("messages", func(t *testing.T) {
		h := hoptest.New(t, nil)
		r := to(h, func(o *nexthop.Options) { o.Messages = 2 })
		for range 5 {
			deliver(r)
		}
		<-h.Closed
		<-h.Closed
		if h.Connections() != 3 || len(h.Said("QUIT")) != 2 {
			t.Errorf("%d connections, %q", h.Connections(), h.Said("QUIT"))
		}
	})
	t.Run("none", func(t *testing.T) {
		h := hoptest.New(t, nil)
		r := to(h, func(o *nexthop.Options) { o.Idle = -1 })
		deliver(r)
		deliver(r)
		<-h.Closed
		<-h.Closed
	})
	t.Run("idle timeout", func(t *testing.T) {
		h := hoptest.New(t, nil)
		deliver(to(h, func(o *nexthop.Options) { o.IdleTimeout = time.Millisecond }))
		<-h.Closed
		if len(h.Said("QUIT")) != 1 {
			t.Error("no QUIT")
		}
	})
	t.Run("Cleanup", func(t *testing.T) {
		h := hoptest.New(t, nil)
		r := to(h, nil)
		deliver(r)
		r.hosts[0].Close()
		<-h.Closed
		deliver(r) // one that was under way
		<-h.Closed
		if len(h.Said("QUIT")) != 2 {
			t.Error("no QUIT")
		}
	})
}

// What a hop says to MAIL on a connection that has served may be about that: it says it again, or takes the message, on a
// new one.
func TestServedConnection(t *testing.T) {
	for _, c := range []struct{ at, reply string }{
		{"MAIL", "451 4.4.2 Timeout - closing connection"},
		{"MAIL", "500 5.4.0 Session idle too long"},
		{"MAIL", "452 4.5.3 Too many messages in this session"},
		{"MAIL", "530 5.7.0 log in again"},
		{"RCPT", "452 4.5.3 Too many recipients"},
		{"RCPT", "550 Too many recipients in this session"},
		{"DATA", "554 5.7.0 Too many messages in this session"},
		{"DATA", "451 4.7.0 Session expired"},
		{".", "250 2.0.0 queued\r\n550 5.1.1 this as well"}, // to be read as the reply to the next MAIL
	} {
		for _, extensions := range [][]string{hoptest.Usual, {"8BITMIME"}} {
			h := hoptest.New(t, func(h *hoptest.Hop) { h.Extensions = extensions })
			h.Reply = func(line string) string {
				served := min(len(h.Messages()), 1)
				if strings.HasPrefix(line, c.at) && h.Connections() == 1 && served == 1 {
					return c.reply
				}
				return ""
			}
			r := to(h, nil)
			for range 3 {
				if err := outcomes(t, r, letter())[0]; err != nil {
					t.Errorf("%s at %s: %v", c.reply, c.at, err)
				}
			}
			if h.Connections() != 2 || len(h.Messages()) != 3 {
				t.Errorf("%s at %s: %d messages on %d connections", c.reply, c.at, len(h.Messages()), h.Connections())
			}
		}
	}
}

// endsLate is a context that has ended once the hop has spoken, before the connection knows of it.
type endsLate struct {
	context.Context
	ended atomic.Bool
}

func (c *endsLate) Err() error {
	if c.ended.Load() {
		return context.Canceled
	}
	return c.Context.Err()
}

// Nor does it count when the attempt is interrupted just then, and no new connection is asked.
func TestServedConnectionInterrupted(t *testing.T) {
	ctx := &endsLate{Context: t.Context()}
	var refuse atomic.Bool
	r := to(hoptest.New(t, func(h *hoptest.Hop) {
		h.Reply = func(line string) string {
			if refuse.Load() && strings.HasPrefix(line, "MAIL") {
				ctx.ended.Store(true)
				return "550 5.7.1 you have been idle for too long"
			}
			return ""
		}
	}), nil)
	if err := r.Deliver(ctx, letter()); err != nil {
		t.Fatal(err)
	}
	refuse.Store(true)
	d := letter()
	err := r.Deliver(ctx, d)
	wantTemporary(t, d.Outcome(d.Recipients[0], err), "canceled")
}

// Where a connection that has served has all recipients wait, the next message is not told the same by it.
func TestServedEnough(t *testing.T) {
	h := hoptest.New(t, nil)
	h.Reply = func(line string) string {
		if strings.HasPrefix(line, "RCPT") && h.Connections() == 1 && len(h.Messages()) > 0 {
			return "451 4.7.1 enough of this session"
		}
		return ""
	}
	r := to(h, nil)
	for i := range 4 {
		if err := outcomes(t, r, letter())[0]; (err != nil) != (i == 1) {
			t.Errorf("message %d: %v", i, err)
		}
	}
	if h.Connections() != 2 {
		t.Errorf("%d connections", h.Connections())
	}
	// One that has not is kept: it is the message's fault, or its recipients'.
	h = hoptest.New(t, hoptest.On("RCPT", "451 4.7.1 greylisted"))
	r = to(h, nil)
	for range 2 {
		wantReply(t, outcomes(t, r, letter())[0], 451, smtp.EnhancedCode{4, 7, 1})
	}
	if h.Connections() != 1 {
		t.Errorf("%d connections", h.Connections())
	}
}

// It costs no other connection that is idle, for the new one's word is what counts.
func TestRefusedAgain(t *testing.T) {
	h := hoptest.New(t, hoptest.On("MAIL FROM:<mallory", "550 5.7.1 not you"))
	r := to(h, nil)
	park(t, r, 3)
	d := letter()
	d.Entry.Sender = "mallory@example.org"
	if err := outcomes(t, r, d)[0]; !msatest.IsPermanent(err) {
		t.Error(err)
	}
	if n := len(h.Said("MAIL FROM:<mallory")); n != 2 || h.Connections() != 4 {
		t.Errorf("asked %d times on %d connections", n, h.Connections())
	}
}

// park leaves so many idle connections, which have served.
func park(t *testing.T, r sink, n int) {
	t.Helper()
	var wg sync.WaitGroup
	all := make(chan struct{})
	var there atomic.Int64
	for range n {
		wg.Go(func() {
			d := letter()
			d.OnFinal(func() error {
				if there.Add(1) == int64(n) {
					close(all)
				}
				<-all
				return nil
			})
			if err := r.Deliver(t.Context(), d); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// A connection that was kept has proved nothing less where our own word ended the message on it.
func TestKeptUnused(t *testing.T) {
	h := hoptest.New(t, func(h *hoptest.Hop) {
		h.Extensions = []string{"SIZE 100"}
		h.Reply = func(line string) string {
			if strings.HasPrefix(line, "MAIL") && h.Connections() == 1 {
				return "close"
			}
			return ""
		}
	})
	r := to(h, nil)
	d := letter()
	d.Entry.Size = 101
	wantReply(t, outcomes(t, r, d)[0], 552, smtp.EnhancedCode{5, 3, 4})
	if err := outcomes(t, r, letter())[0]; err != nil || h.Connections() != 2 {
		t.Errorf("%v on %d connections", err, h.Connections())
	}
}

// Nor does one that has said so on its first transaction need to say it on another connection for each of the others.
func TestRefusedByGroups(t *testing.T) {
	for _, c := range []struct{ at, reply string }{{"MAIL", "550 5.7.1 not you"}, {"RCPT", "452 4.3.1 Insufficient storage"}, {"DATA", "451 4.3.0 not now"}} {
		h := hoptest.New(t, hoptest.On(c.at, c.reply))
		r := to(h, func(o *nexthop.Options) { o.Recipients = 2 })
		var all []string
		for i := range 20 {
			all = append(all, fmt.Sprintf("u%d@example.net", i))
		}
		for i, err := range outcomes(t, r, msatest.NewDelivery([]byte(text), all...)) {
			if err == nil {
				t.Errorf("%s: recipient %d was taken", c.at, i)
			}
		}
		if h.Connections() != 1 {
			t.Errorf("%s: %d connections", c.at, h.Connections())
		}
	}
}

// A hop that has spoken and then has no room for the new connection is not down.
func TestNoRoomToAskAgain(t *testing.T) {
	h := hoptest.New(t, nil)
	h.Reply = func(line string) string {
		switch {
		case strings.HasPrefix(line, "MAIL FROM:<mallory"):
			return "550 5.7.1 not you"
		case line == "connect" && h.Connections() > 1:
			return "421 4.7.0 too many connections"
		}
		return ""
	}
	r := to(h, nil)
	park(t, r, 1)
	d := letter()
	d.Entry.Sender = "mallory@example.org"
	if err := r.Deliver(t.Context(), d); err == nil || queue.IsUnreachable(err) || msatest.IsPermanent(err) {
		t.Error(err)
	}
}
