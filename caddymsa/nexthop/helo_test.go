package nexthop_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop/hoptest"
)

const umlaut = "Subject: x\r\n\r\nb\xe4r\r\n"

// answers has a hop give replies to what begins with a prefix, one to each connection, and the usual ones behind the last.
func answers(prefix string, replies ...string) func(*hoptest.Hop) {
	return func(h *hoptest.Hop) {
		h.TLS = nil
		h.Reply = func(line string) string {
			if n := h.Connections(); strings.HasPrefix(line, prefix) && n <= len(replies) {
				return replies[n-1]
			}
			return ""
		}
	}
}

// A connection that breaks at EHLO tells nothing of a hop, nor do two of which the second is in order: HELO is for those that
// hang up twice, and a reply that nobody understands is no reason at all.
func TestHangsUpOnEHLO(t *testing.T) {
	for name, tt := range map[string]struct {
		hop         func(*hoptest.Hop)
		said        string
		connections int
	}{
		"once":           {answers("EHLO", "close"), "EHLO EHLO MAIL RCPT DATA", 2},
		"twice":          {answers("EHLO", "close", "close"), "EHLO EHLO HELO MAIL RCPT DATA", 3},
		"refused, twice": {hoptest.On("EHLO", "500 what?"), "EHLO HELO MAIL RCPT DATA", 1},
		"behind its refusal": {func(h *hoptest.Hop) {
			answers("HELO", "close")(h)
			reply := h.Reply
			h.Reply = func(line string) string {
				if strings.HasPrefix(line, "EHLO") {
					return "500 what?"
				}
				return reply(line)
			}
		}, "EHLO HELO HELO MAIL RCPT DATA", 2},
		"codes that differ": {answers("EHLO", "250-x\r\n550 8BITMIME"), "EHLO", 1},
		"no reply":          {answers("EHLO", "hello"), "EHLO", 1},
		"never anything":    {hoptest.On("EHLO", "close", "HELO", "close"), "EHLO EHLO HELO", 3},
	} {
		h := hoptest.New(t, tt.hop)
		h.TLS = nil
		var told []string
		d := letter()
		err := to(h, func(o *nexthop.Options) { inClear(o); o.SaidHELO = func(host, _ string) { told = append(told, host) } }).Deliver(t.Context(), d)
		var said []string
		for _, line := range h.Said("") {
			if line != "QUIT" { // which nobody waits for
				said = append(said, line[:4])
			}
		}
		if strings.Join(said, " ") != tt.said || h.Connections() != tt.connections {
			t.Errorf("%s: %q on %d connections", name, said, h.Connections())
		}
		if !strings.Contains(tt.said, "MAIL") {
			wantTemporary(t, err, "")
		} else if err != nil || slices.Equal(told, []string{"127.0.0.1"}) != strings.Contains(tt.said, "HELO MAIL") {
			t.Errorf("%s: %v, told %q", name, err, told)
		}
	}
}

// What a hop that hung up on EHLO can do is not known: nothing fails for good, and the next message asks again.
func TestHELOByHangingUp(t *testing.T) {
	h := hoptest.New(t, answers("EHLO", "close", "close", "", "close", "close"))
	r := to(h, inClear)
	d := msatest.NewDelivery([]byte(umlaut), "bob@example.org")
	wantReply(t, outcomes(t, r, d)[0], 451, smtp.EnhancedCode{4, 6, 3})
	wide := msatest.NewDelivery([]byte(text), "ü@example.org", "bob@example.org")
	wide.Entry.SMTPUTF8 = true
	out := outcomes(t, r, wide)
	wantReply(t, out[0], 451, smtp.EnhancedCode{4, 6, 7})
	if out[1] != nil {
		t.Error(out[1])
	}
	if err := outcomes(t, r, d)[0]; err != nil || h.Connections() != 7 {
		t.Errorf("%v on %d connections", err, h.Connections())
	}
	// One that refuses EHLO is known.
	h = hoptest.New(t, func(h *hoptest.Hop) { h.TLS = nil; hoptest.On("EHLO", "500 what?")(h) })
	r = to(h, inClear)
	for range 2 {
		wantReply(t, outcomes(t, r, d)[0], 554, smtp.EnhancedCode{5, 6, 3})
	}
	if h.Connections() != 1 {
		t.Errorf("%d connections", h.Connections())
	}
}

// A connection in clear for want of the TLS that was offered takes one message: the next one asks for TLS again.
func TestSpurnedIsNotKept(t *testing.T) {
	h := hoptest.New(t, nil)
	h.Reply = func(line string) string {
		if line == "STARTTLS" && h.Connections() < 3 {
			return "454 4.7.0 not now"
		}
		return ""
	}
	r := to(h, opportunistic)
	for i := range 4 {
		d := letter()
		if err := outcomes(t, r, d)[0]; err != nil || (d.AnswerOf(d.Recipients[0]).TLS != "") != (i > 1) {
			t.Errorf("message %d: %v, %+v", i, err, d.AnswerOf(d.Recipients[0]))
		}
	}
	if h.Connections() != 3 {
		t.Errorf("%d connections", h.Connections())
	}
	h = hoptest.New(t, hoptest.On("STARTTLS", "close"))
	r = to(h, opportunistic)
	for range 2 {
		if err := outcomes(t, r, letter())[0]; err != nil {
			t.Error(err)
		}
	}
	if len(h.Said("STARTTLS")) != 2 || h.Connections() != 4 {
		t.Errorf("%q on %d connections", h.Said(""), h.Connections())
	}
}
