package nexthop_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop/hoptest"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// nobody is a host that refuses connections.
func nobody() *nexthop.Hop {
	return nexthop.New("tcp", "127.0.0.1:1", "nobody.example", &nexthop.Options{TLSMode: nexthop.TLSOff, Connect: time.Minute})
}

// A host that cannot be reached is passed over, and asked last for a while; a reply is a reply, and
// no other host is asked.
func TestFallback(t *testing.T) {
	second := hoptest.New(t, nil)
	down, up := nobody(), to(second, nil).hosts[0]
	for range 3 {
		if err := (sink{[]*nexthop.Hop{down, up}}).Deliver(t.Context(), letter()); err != nil {
			t.Fatal(err)
		}
	}
	if len(second.Messages()) != 3 || second.Connections() != 1 {
		t.Errorf("%d messages on %d connections", len(second.Messages()), second.Connections())
	}
	if now := time.Now(); !down.Down(now, time.Minute) || down.Down(now.Add(2*time.Minute), time.Minute) || up.Down(now, time.Minute) {
		t.Error("who is down is not known")
	}
	for _, at := range []string{"connect", "EHLO", "MAIL", "RCPT", "DATA"} {
		first := hoptest.New(t, hoptest.On(at, "421 4.3.2 closing"))
		if err := (sink{[]*nexthop.Hop{to(first, nil).hosts[0], up}}).Deliver(t.Context(), letter()); err != nil {
			t.Errorf("421 at %s: %v", at, err)
		}
	}
	before := len(second.Messages())
	for at, reply := range map[string]string{"RCPT": "451 4.7.1 greylisted", "MAIL": "550 5.7.1 no", ".": "421 4.3.2 closing"} {
		first := hoptest.New(t, hoptest.On(at, reply))
		out := outcomes(t, sink{[]*nexthop.Hop{to(first, nil).hosts[0], up}}, letter())
		if nexthop.ReplyOf(out[0]) == nil || len(second.Messages()) != before {
			t.Errorf("%s: %v, and the second host has %d more", at, out, len(second.Messages())-before)
		}
	}
	err := sink{[]*nexthop.Hop{nobody(), nobody()}}.Deliver(t.Context(), letter())
	if !queue.IsUnreachable(err) || strings.Count(err.Error(), "127.0.0.1:1: dial") != 2 {
		t.Error(err)
	}
	if err := (sink{}).Deliver(t.Context(), letter()); err == nil {
		t.Error("delivered to no host")
	}
}

// failsAt delivers a letter to a hop that says so at a command. One that stalls is waited for briefly, and for longer where a busy machine has
// not come to that command by then.
func failsAt(t *testing.T, at, reply string) (*hoptest.Hop, error) {
	t.Helper()
	for timeout := time.Second; ; timeout *= 8 {
		var came atomic.Bool
		h := hoptest.New(t, func(h *hoptest.Hop) {
			hoptest.On(at, reply)(h)
			on := h.Reply
			h.Reply = func(line string) string {
				said := on(line)
				came.Store(came.Load() || said != "")
				return said
			}
		})
		d := letter()
		err := to(h, func(o *nexthop.Options) {
			if reply == "stall" {
				o.Command, o.End = timeout, timeout
			}
			if at != "connect" {
				o.Greeting = time.Minute
			}
		}).Deliver(t.Context(), d)
		if came.Load() || timeout > time.Minute {
			return h, d.Outcome(d.Recipients[0], err)
		}
	}
}

// The lane is down by evidence about the lane; what concerns one message, or its sender, is not.
func TestLane(t *testing.T) {
	t.Parallel()
	for at, want := range map[string]bool{
		"connect": true, "EHLO": true, "STARTTLS": true, "MAIL": false, "RCPT": false, "DATA": false, ".": false,
	} {
		for _, reply := range []string{"close", "stall", "421 4.7.0 not now", "554 5.7.1 not you"} {
			t.Run(reply+" at "+at, func(t *testing.T) {
				t.Parallel()
				h, err := failsAt(t, at, reply)
				f := nexthop.AsFailure(err)
				if f == nil || f.Lane != want || queue.IsUnreachable(err) != want || f.Host != "127.0.0.1" || f.Address != h.Addr {
					t.Fatalf("%v, %+v", err, f)
				}
				if said := strings.Contains(reply, " "); said != (f.Reply != nil) {
					t.Errorf("reply %v", f.Reply)
				}
				if want && msatest.IsPermanent(err) {
					t.Error("it fails the message for good")
				}
			})
		}
	}
	// A log-in that is missing shows at MAIL.
	err := to(hoptest.New(t, hoptest.On("MAIL", "530 5.7.0 Authentication required")), nil).Deliver(t.Context(), letter())
	if !queue.IsUnreachable(err) || msatest.IsPermanent(err) {
		t.Error(err)
	}
}

// What the next hop does not notify of is this server's to notify of (RFC 3461 section 6.2), and its last
// word, its name, address and TLS are part of every outcome.
func TestAnswers(t *testing.T) {
	for _, dsn := range []bool{true, false} {
		h := hoptest.New(t, func(h *hoptest.Hop) {
			hoptest.On("RCPT TO:<carol", "550 5.1.1 no", ".", "250-2.0.0 fine\r\n250 2.0.0 Ok: queued as 4XYZ")(h)
			if !dsn {
				h.Extensions = []string{"8BITMIME"}
			}
		})
		d := msatest.NewDelivery([]byte(text), "bob@example.org", "carol@example.org")
		_ = to(h, nil).Deliver(t.Context(), d)
		if notifies, ok := d.WasRelayed(d.Recipients[0]); !ok || notifies != dsn {
			t.Errorf("%v %v", notifies, ok)
		}
		if _, ok := d.WasRelayed(d.Recipients[1]); ok {
			t.Error("a refused recipient was relayed")
		}
		want := queue.Answer{Reply: "250 2.0.0 fine Ok: queued as 4XYZ", ID: "4XYZ", Host: "127.0.0.1", Address: h.Addr, TLS: "TLS 1.3 TLS_AES_128_GCM_SHA256"}
		if a := d.AnswerOf(d.Recipients[0]); a != want {
			t.Errorf("have %+v", a)
		}
		want.Reply, want.ID = "550 5.1.1 no", ""
		if a := d.AnswerOf(d.Recipients[1]); a != want || d.Recipients[1].RemoteMTA != "127.0.0.1" {
			t.Errorf("have %+v", a)
		}
	}
	d := letter()
	_ = to(hoptest.New(t, hoptest.On("connect", "554 5.7.1 not you")), nil).Deliver(t.Context(), d)
	if a := d.AnswerOf(d.Recipients[0]); a.Reply != "554 5.7.1 not you" || a.TLS != "" || d.Recipients[0].RemoteMTA != "" {
		t.Errorf("have %+v from %q", a, d.Recipients[0].RemoteMTA)
	}
}

// The hop hears the server's hostname, not its name in the configuration, unless a name is configured.
func TestHello(t *testing.T) {
	h := hoptest.New(t, nil)
	d := letter()
	d.Entry.Server, d.Hostname = "internal name", "mail.example.org"
	for _, helo := range []string{"", "out.example.org"} {
		if err := to(h, func(o *nexthop.Options) { o.Helo = helo }).Deliver(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	if said := h.Said("EHLO"); strings.Join(said, "|") != "EHLO mail.example.org|EHLO mail.example.org|EHLO out.example.org|EHLO out.example.org" {
		t.Errorf("%q", said)
	}
}

// RFC 6710: the priority goes on to a hop that knows what that is.
func TestPriority(t *testing.T) {
	for _, offer := range []string{"mt-priority STANAG4406", "X"} {
		h := hoptest.New(t, func(h *hoptest.Hop) { h.Extensions = append([]string{offer}, h.Extensions...) })
		d := letter()
		d.Entry.Priority = -3
		if err := to(h, nil).Deliver(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		if has := strings.Contains(h.Said("MAIL")[0], " MT-PRIORITY=-3"); has != (offer != "X") {
			t.Errorf("%q", h.Said("MAIL"))
		}
	}
}

// What cannot be said in a command is refused, not said.
func TestAddresses(t *testing.T) {
	h := hoptest.New(t, nil)
	d := msatest.NewDelivery([]byte(text), "a\r\nRSET@example.org", "bob@example.org")
	out := outcomes(t, to(h, nil), d)
	wantReply(t, out[0], 553, smtp.EnhancedCode{5, 1, 3})
	if out[1] != nil || len(h.Said("RSET")) != 0 {
		t.Errorf("%v, %q", out, h.Said(""))
	}
	d = letter()
	d.Entry.Sender = "a\n@example.org"
	wantReply(t, outcomes(t, to(h, nil), d)[0], 553, smtp.EnhancedCode{5, 1, 7})
}
