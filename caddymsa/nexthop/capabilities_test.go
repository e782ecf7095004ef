package nexthop_test

import (
	"strings"
	"testing"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop/hoptest"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// What the next hop cannot take fails with the right code, nothing else does.
func TestCapabilities(t *testing.T) {
	const eight, utf8Header = "Subject: x\r\n\r\nb\xe4r\r\n", "Subject: \u00fc\r\n\r\nx\r\n"
	without := func(names ...string) func(*hoptest.Hop) {
		return func(h *hoptest.Hop) {
			h.Extensions = nil
			for _, e := range hoptest.Usual {
				if !strings.Contains(strings.Join(names, " "), strings.Fields(e)[0]) {
					h.Extensions = append(h.Extensions, e)
				}
			}
		}
	}
	for name, c := range map[string]struct {
		hop     func(*hoptest.Hop)
		message string
		change  func(*queue.Entry)
		code    int
		status  smtp.EnhancedCode
	}{
		"8bit":                  {nil, eight, nil, 0, smtp.EnhancedCode{}},
		"8bit refused":          {without("8BITMIME"), eight, nil, 554, smtp.EnhancedCode{5, 6, 3}},
		"7bit said 8bit":        {without("8BITMIME"), text, nil, 0, smtp.EnhancedCode{}},
		"nothing offered":       {func(h *hoptest.Hop) { h.Extensions = nil }, text, func(e *queue.Entry) { e.Return = "FULL"; e.EnvelopeID = "x" }, 0, smtp.EnhancedCode{}},
		"too large":             {func(h *hoptest.Hop) { h.Extensions = []string{"SIZE 10"} }, text, nil, 552, smtp.EnhancedCode{5, 3, 4}},
		"just fits":             {func(h *hoptest.Hop) { h.Extensions = []string{"SIZE 25"} }, text, nil, 0, smtp.EnhancedCode{}},
		"no limit":              {func(h *hoptest.Hop) { h.Extensions = []string{"SIZE 0"} }, text, nil, 0, smtp.EnhancedCode{}},
		"utf8 implies 8bit":     {without("8BITMIME"), utf8Header, func(e *queue.Entry) { e.SMTPUTF8 = true }, 0, smtp.EnhancedCode{}},
		"utf8 needless":         {without("SMTPUTF8"), text, func(e *queue.Entry) { e.SMTPUTF8 = true }, 0, smtp.EnhancedCode{}},
		"utf8 body only":        {without("SMTPUTF8"), eight, func(e *queue.Entry) { e.SMTPUTF8 = true }, 0, smtp.EnhancedCode{}},
		"utf8 header":           {without("SMTPUTF8"), utf8Header, func(e *queue.Entry) { e.SMTPUTF8 = true }, 550, smtp.EnhancedCode{5, 6, 7}},
		"utf8 sender":           {without("SMTPUTF8"), text, func(e *queue.Entry) { e.SMTPUTF8 = true; e.Sender = "ü@example.org" }, 550, smtp.EnhancedCode{5, 6, 7}},
		"utf8 header not asked": {without("SMTPUTF8"), utf8Header, nil, 0, smtp.EnhancedCode{}},
		"bad ENVID":             {nil, text, func(e *queue.Entry) { e.EnvelopeID = "\x01"; e.Return = "?" }, 0, smtp.EnhancedCode{}},
	} {
		t.Run(name, func(t *testing.T) {
			h := hoptest.New(t, c.hop)
			d := msatest.NewDelivery([]byte(c.message), "bob@example.org")
			if c.change != nil {
				c.change(d.Entry)
			}
			err := outcomes(t, to(h, nil), d)[0]
			if c.code != 0 {
				wantReply(t, err, c.code, c.status)
				if len(h.Said("MAIL")) != 0 || d.Recipients[0].RemoteMTA != "" {
					t.Error("the next hop was asked")
				}
			} else if err != nil || len(h.Messages()) != 1 || string(h.Messages()[0]) != c.message {
				t.Errorf("%v, have %q", err, h.Messages())
			}
		})
	}
	t.Run("utf8 recipient", func(t *testing.T) {
		h := hoptest.New(t, without("SMTPUTF8"))
		d := msatest.NewDelivery([]byte(text), "ü@example.org", "bob@example.org")
		d.Entry.SMTPUTF8 = true
		out := outcomes(t, to(h, nil), d)
		wantReply(t, out[0], 553, smtp.EnhancedCode{5, 6, 7})
		if out[1] != nil || len(h.Messages()) != 1 {
			t.Error(out[1])
		}
	})
}
