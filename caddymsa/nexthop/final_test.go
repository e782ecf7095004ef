package nexthop_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop/hoptest"
)

// An attempt says when it can no longer be taken back: before the end of data, once for each message, and
// nothing of the end is sent when it is told not to.
func TestFinal(t *testing.T) {
	large := []byte(strings.Repeat("x: "+strings.Repeat("y", 70)+"\r\n", 2000))
	for _, message := range [][]byte{[]byte(text), large} {
		h := hoptest.New(t, func(h *hoptest.Hop) { h.Extensions = append([]string{"LIMITS RCPTMAX=1"}, h.Extensions...) })
		d := msatest.NewDelivery(message, "a@example.org", "b@example.org")
		calls := 0
		d.OnFinal(func() error {
			if calls++; len(h.Messages()) != calls-1 {
				t.Errorf("call %d came after %d messages", calls, len(h.Messages()))
			}
			return nil
		})
		if err := to(h, nil).Deliver(t.Context(), d); err != nil || calls != 2 {
			t.Errorf("%v after %d calls", err, calls)
		}
		interrupted := errors.New("interrupted")
		d.OnFinal(func() error { return interrupted })
		before := len(h.Messages())
		err := to(h, nil).Deliver(t.Context(), d)
		if !errors.Is(err, interrupted) || len(h.Messages()) != before || msatest.IsPermanent(err) {
			t.Errorf("%v, %d messages", err, len(h.Messages()))
		}
	}
}

// Until then, the end of the context ends the attempt, whatever it is waiting for.
func TestInterrupted(t *testing.T) {
	for _, at := range []string{"connect", "EHLO", "MAIL", "RCPT", "DATA", "body", "."} {
		ctx, cancel := context.WithCancel(t.Context())
		h := hoptest.New(t, func(h *hoptest.Hop) {
			h.TLS = nil
			h.Reply = func(line string) string {
				if strings.HasPrefix(line, at) {
					cancel()
					return "stall"
				}
				return ""
			}
		})
		message := []byte(text)
		if at == "body" { // more than the kernel takes without a reader
			message = []byte(strings.Repeat("x: "+strings.Repeat("y", 70)+"\r\n", 200000))
		}
		began := time.Now()
		err := to(h, inClear).Deliver(ctx, msatest.NewDelivery(message, "bob@example.org"))
		f := nexthop.AsFailure(err)
		if !errors.Is(err, context.Canceled) || f == nil || f.Lane || f.Elsewhere || time.Since(began) > 45*time.Second {
			t.Errorf("%s: %v, %+v", at, err, f)
		}
	}
}

// conversation is a hop that writes what it likes, when it likes.
func conversation(t *testing.T, talk func(c net.Conn, r *bufio.Reader)) sink {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			talk(c, bufio.NewReader(c))
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	_, root := hoptest.Certificate(t)
	return toAddress(t, l.Addr().String(), root, inClear)
}

// upTo reads lines until one begins with prefix.
func upTo(r *bufio.Reader, prefix string) {
	for {
		line, err := r.ReadString('\n')
		if err != nil || strings.HasPrefix(line, prefix) {
			return
		}
	}
}

// large does not fit into what connections hold.
var large = []byte(strings.Repeat("x: "+strings.Repeat("y", 70)+"\r\n", 200000))

// breaksOff is a hop that ends within a message, with a word or none.
func breaksOff(t *testing.T, word string) sink {
	t.Helper()
	return conversation(t, func(c net.Conn, r *bufio.Reader) {
		_, _ = io.WriteString(c, "220 x\r\n")
		upTo(r, "EHLO")
		_, _ = io.WriteString(c, "250-x\r\n250 PIPELINING\r\n")
		upTo(r, "DATA")
		_, _ = io.WriteString(c, "250 a\r\n250 b\r\n354 go\r\n")
		_, _ = io.CopyN(io.Discard, r, 100<<10)
		_, _ = io.WriteString(c, word)
	})
}

// A hop that breaks off within the message has often said why, and that counts.
func TestRefusedWithin(t *testing.T) {
	r := breaksOff(t, "552 5.3.4 too large\r\n")
	wantReply(t, outcomes(t, r, msatest.NewDelivery(large, "bob@example.org"))[0], 552, smtp.EnhancedCode{5, 3, 4})
}

// One that has not got a message's end has no message, and the next host is asked, unless it says why.
func TestBreaksOffWithin(t *testing.T) {
	for word, elsewhere := range map[string]bool{"": true, "421 4.3.2 closing\r\n": true, "451 4.3.0 disk\r\n": false} {
		first := breaksOff(t, word)
		second := hoptest.New(t, nil)
		d := msatest.NewDelivery(large, "bob@example.org")
		err := outcomes(t, sink{[]*nexthop.Hop{first.hosts[0], to(second, nil).hosts[0]}}, d)[0]
		if (err == nil) != elsewhere || (len(second.Messages()) == 1) != elsewhere {
			t.Errorf("%q: %v, the second host has %d", word, err, len(second.Messages()))
		}
		if err = first.Deliver(t.Context(), msatest.NewDelivery(large, "bob@example.org")); nexthop.AsFailure(err) != nil && nexthop.AsFailure(err).Lane {
			t.Errorf("%q: it is no matter of the message's: %v", word, err)
		}
	}
}

// It is sent once more on a new connection, however many are idle.
func TestBreaksOffEachTime(t *testing.T) {
	var parked atomic.Bool
	h := hoptest.New(t, func(h *hoptest.Hop) {
		h.Reply = func(line string) string {
			if line == "body" && parked.Load() {
				return "close"
			}
			return ""
		}
	})
	r := to(h, nil)
	park(t, r, 4)
	parked.Store(true)
	wantTemporary(t, r.Deliver(t.Context(), msatest.NewDelivery(large, "bob@example.org")), "message: ")
	if n := len(h.Said("DATA")); n != 6 || h.Connections() != 5 {
		t.Errorf("DATA was said %d times on %d connections", n, h.Connections())
	}
}

// A hop that says more than it was asked is not believed that it has the message.
func TestOutOfStep(t *testing.T) {
	for extra, want := range map[string]string{"250 again\r\n": "spoke before", "552 5.3.4 no\r\n": "552"} {
		r := conversation(t, func(c net.Conn, r *bufio.Reader) {
			_, _ = io.WriteString(c, "220 x\r\n")
			upTo(r, "EHLO")
			_, _ = io.WriteString(c, "250-x\r\n250 PIPELINING\r\n")
			upTo(r, "DATA")
			_, _ = io.WriteString(c, "250 a\r\n250 b\r\n354 go\r\n"+extra)
			upTo(r, ".")
			_, _ = io.WriteString(c, "250 taken\r\n")
		})
		err := outcomes(t, r, letter())[0]
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", extra, err)
		}
	}
}

// RFC 2920 section 3.1: a hop that wants a message for nobody gets an empty one.
func TestNobody(t *testing.T) {
	end := make(chan string, 1)
	r := conversation(t, func(c net.Conn, r *bufio.Reader) {
		_, _ = io.WriteString(c, "220 x\r\n")
		upTo(r, "EHLO")
		_, _ = io.WriteString(c, "250-x\r\n250 PIPELINING\r\n")
		upTo(r, "DATA")
		_, _ = io.WriteString(c, "250 a\r\n550 5.1.1 b\r\n354 go\r\n")
		line, _ := r.ReadString('\n')
		end <- line
		_, _ = io.WriteString(c, "554 5.5.1 no recipients\r\n")
	})
	wantReply(t, outcomes(t, r, letter())[0], 550, smtp.EnhancedCode{5, 1, 1})
	if line := <-end; line != ".\r\n" {
		t.Errorf("%q", line)
	}
}

// A greeting that drips has no more time than one that does not come.
func TestDrip(t *testing.T) {
	_, root := hoptest.Certificate(t)
	r := conversation(t, func(c net.Conn, _ *bufio.Reader) {
		for range 1000 {
			if _, err := io.WriteString(c, "2"); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
	r = toAddress(t, r.hosts[0].Address, root, func(o *nexthop.Options) { inClear(o); o.Greeting = 100 * time.Millisecond })
	err := r.Deliver(t.Context(), letter())
	if f := nexthop.AsFailure(err); f == nil || !f.Lane {
		t.Error(err)
	}
}

// What has been taken is not sent again because of how that was said.
func TestOddlyTaken(t *testing.T) {
	for _, reply := range []string{"250-2.0.0 a\r\n251 b", "250 2.0.0 ok\r", strings.Repeat("250-"+strings.Repeat("x", 500)+"\r\n", 200) + "250 ok"} {
		for _, lmtp := range []bool{false, true} {
			h := hoptest.New(t, func(h *hoptest.Hop) { h.LMTP = lmtp; hoptest.On(".", reply)(h) })
			r := to(h, nil)
			for range 2 {
				if err := outcomes(t, r, letter())[0]; err != nil {
					t.Errorf("%.40q: %v", reply, err)
				}
			}
			if h.Connections() != 1 || len(h.Messages()) != 2 {
				t.Errorf("%.40q: %d messages on %d connections", reply, len(h.Messages()), h.Connections())
			}
		}
	}
}
