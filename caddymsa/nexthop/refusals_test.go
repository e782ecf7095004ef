package nexthop_test

import (
	"testing"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop/hoptest"
)

func TestRefusals(t *testing.T) {
	bob, carol := "bob@example.org", "carol@example.org"
	ok := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	is := func(code int, a, b, c int) func(*testing.T, error) {
		return func(t *testing.T, err error) {
			t.Helper()
			wantReply(t, err, code, smtp.EnhancedCode{a, b, c})
		}
	}
	temporary := func(t *testing.T, err error) { t.Helper(); wantTemporary(t, err, "") }
	for name, c := range map[string]struct {
		hop        func(*hoptest.Hop)
		bob, carol func(*testing.T, error)
		messages   int
	}{
		"one recipient":       {hoptest.On("RCPT TO:<bob", "550 5.1.1 unknown"), is(550, 5, 1, 1), ok, 1},
		"one for now":         {hoptest.On("RCPT TO:<bob", "450 4.2.1 later"), is(450, 4, 2, 1), ok, 1},
		"each its own":        {hoptest.On("RCPT TO:<bob", "550 5.1.1 unknown", "RCPT TO:<carol", "450 4.2.1 x"), is(550, 5, 1, 1), is(450, 4, 2, 1), 0},
		"too many":            {hoptest.On("RCPT TO:<carol", "552 too many recipients"), ok, is(452, 4, 5, 3), 1},
		"552 to one":          {hoptest.On("RCPT TO:<carol", "552 exceeded storage allocation"), ok, is(552, 0, 0, 0), 1},
		"552 to all":          {hoptest.On("RCPT TO:<bob", "552 message too large", "RCPT TO:<carol", "552 message too large"), is(552, 0, 0, 0), is(552, 0, 0, 0), 0},
		"mailbox full":        {hoptest.On("RCPT TO:<carol", "552 5.2.2 full"), ok, is(552, 5, 2, 2), 1},
		"MAIL":                {hoptest.On("MAIL", "550 5.7.1 no"), is(550, 5, 7, 1), is(550, 5, 7, 1), 0},
		"MAIL for now":        {hoptest.On("MAIL", "451 4.3.0 no"), is(451, 4, 3, 0), is(451, 4, 3, 0), 0},
		"MAIL without log-in": {hoptest.On("MAIL", "530 5.7.0 log in"), temporary, temporary, 0},
		"DATA":                {hoptest.On("DATA", "554 5.5.1 no"), is(554, 5, 5, 1), is(554, 5, 5, 1), 0},
		"content":             {hoptest.On(".", "554 5.7.1 spam"), is(554, 5, 7, 1), is(554, 5, 7, 1), 1},
		"mixed at the end":    {hoptest.On("RCPT TO:<bob", "550 5.1.1 unknown", ".", "451 4.3.2 x"), is(550, 5, 1, 1), is(451, 4, 3, 2), 1},
		"421 at RCPT":         {hoptest.On("RCPT TO:<carol", "421 4.3.2 bye"), ok, is(421, 4, 3, 2), 1},
		"421 at DATA":         {hoptest.On("RCPT TO:<bob", "550 5.1.1 unknown", "DATA", "421 4.3.2 bye"), is(550, 5, 1, 1), is(421, 4, 3, 2), 0},
		"nonsense":            {hoptest.On("RCPT TO:<bob", "hello?"), temporary, temporary, 0},
		"wrong reply":         {hoptest.On("DATA", "250 2.0.0 what?"), temporary, temporary, 0},
		"closes at RCPT":      {hoptest.On("RCPT TO:<bob", "close"), temporary, temporary, 0},
		"closes at end":       {hoptest.On(".", "close"), temporary, temporary, 1},
		"greeting":            {hoptest.On("connect", "554 5.7.1 go away"), temporary, temporary, 0},
		"EHLO":                {hoptest.On("EHLO", "550 5.7.1 go away"), temporary, temporary, 0},
		"STARTTLS":            {hoptest.On("STARTTLS", "454 4.7.0 no"), temporary, temporary, 0},
	} {
		t.Run(name, func(t *testing.T) {
			h := hoptest.New(t, c.hop)
			r := to(h, nil)
			d := msatest.NewDelivery([]byte(text), bob, carol)
			out := outcomes(t, r, d)
			c.bob(t, out[0])
			c.carol(t, out[1])
			if len(h.Messages()) != c.messages {
				t.Errorf("%d messages", len(h.Messages()))
			}
			for i, err := range out {
				if want := nexthop.ReplyOf(err) != nil; want != (d.Recipients[i].RemoteMTA == "127.0.0.1") && name != "421 at RCPT" && name != "MAIL without log-in" {
					t.Errorf("remote MTA %q with %v", d.Recipients[i].RemoteMTA, err)
				}
			}
			// The connection is in order, or another is used.
			h.Clear()
			if replies := h.Reply; replies("connect") == "" && replies("EHLO") == "" && replies("STARTTLS") == "" {
				err := r.Deliver(t.Context(), msatest.NewDelivery([]byte(text), "dave@example.org"))
				if replies("MAIL")+replies("DATA")+replies(".") == "" && (err != nil || len(h.Messages()) != 1) {
					t.Errorf("next message: %v", err)
				}
			}
		})
	}
}
