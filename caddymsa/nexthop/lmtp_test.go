package nexthop_test

import (
	"testing"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop/hoptest"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// RFC 2033 section 4.2: each recipient has its own reply, also of a connection that breaks within them.
func TestLMTP(t *testing.T) {
	to3 := func() *queue.Delivery {
		return msatest.NewDelivery([]byte(text), "a@example.org", "b@example.org", "c@example.org")
	}
	h := hoptest.New(t, func(h *hoptest.Hop) {
		h.LMTP = true
		hoptest.On(".RCPT TO:<a", "452 4.2.2 full", ".RCPT TO:<c", "250 2.0.0 <c@example.org> AbC1 Saved")(h)
	})
	r := to(h, nil)
	for range 2 {
		d := to3()
		out := outcomes(t, r, d)
		wantReply(t, out[0], 452, smtp.EnhancedCode{4, 2, 2})
		if a := d.AnswerOf(d.Recipients[2]); out[1] != nil || out[2] != nil || a.ID != "AbC1" {
			t.Errorf("%v, %+v", out, a)
		}
	}
	if h.Connections() != 1 || len(h.Messages()) != 2 {
		t.Errorf("%d connections", h.Connections())
	}
	for _, reply := range []string{"close", "354 what?"} {
		h = hoptest.New(t, func(h *hoptest.Hop) { h.LMTP = true; hoptest.On(".RCPT TO:<b", reply)(h) })
		d := to3()
		out := outcomes(t, to(h, nil), d)
		if out[0] != nil || out[1] == nil || out[2] == nil || msatest.IsPermanent(out[1]) || queue.IsUnreachable(out[1]) {
			t.Errorf("%s: %v", reply, out)
		}
	}
	// 421 for one is for one; the connection is over.
	h = hoptest.New(t, func(h *hoptest.Hop) { h.LMTP = true; hoptest.On(".RCPT TO:<c", "421 4.3.2 bye")(h) })
	r = to(h, func(o *nexthop.Options) {})
	for range 2 {
		out := outcomes(t, r, to3())
		if out[0] != nil || out[1] != nil {
			t.Error(out)
		}
		wantReply(t, out[2], 421, smtp.EnhancedCode{4, 3, 2})
	}
	if h.Connections() != 2 {
		t.Errorf("%d connections", h.Connections())
	}
}

// A store that wants a message for nobody would not answer to its end (RFC 2033 section 4.2).
func TestLMTPNobody(t *testing.T) {
	h := hoptest.New(t, func(h *hoptest.Hop) { h.LMTP = true; hoptest.On("RCPT", "550 5.1.1 unknown", "DATA", "354 go")(h) })
	wantReply(t, outcomes(t, to(h, nil), letter())[0], 550, smtp.EnhancedCode{5, 1, 1})
	if len(h.Said(".")) != 0 {
		t.Errorf("%q", h.Said(""))
	}
}
