package nexthop_test

import (
	"strings"
	"testing"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop/hoptest"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func withDSN(message string) *queue.Delivery {
	d := msatest.NewDelivery([]byte(message), "bob@example.org", "carol@example.org")
	d.Entry.Return, d.Entry.EnvelopeID, d.Recipients[0].Notify = "HDRS", "x1", []string{"SUCCESS"}
	return d
}

// A hop that refuses parameters of what it offers is asked again without them.
func TestRefusedParameters(t *testing.T) {
	plainMail := "MAIL FROM:<alice@example.org> BODY=8BITMIME"
	for name, c := range map[string]struct {
		word, reply string
		limits      string
		mail        string // what was said at last
		connections int
	}{
		"SIZE":                {"SIZE=", "501 5.5.4 Syntax: MAIL FROM:<address>", "", plainMail, 1},
		"RET":                 {"RET=", "555 5.5.4 Unsupported option: RET", "", plainMail, 1},
		"ENVID":               {"ENVID=", "504", "", plainMail, 1},
		"BODY":                {"BODY=", "555 BODY is not recognized", "", "MAIL FROM:<alice@example.org>", 1},
		"any":                 {"=", "501 5.5.2 no", "", "MAIL FROM:<alice@example.org>", 1},
		"one mail each":       {"RET=", "555 5.5.4 no", "MAILMAX=1", plainMail, 2},
		"NOTIFY":              {"NOTIFY=", "501 5.5.4 Syntax error in parameters", "", plainMail, 1},
		"NOTIFY, one each":    {"NOTIFY=", "501 5.5.4 Syntax error in parameters", "MAILMAX=1", plainMail, 2},
		"known in other ways": {"NOTIFY=", "555 5.3.3 no", "", plainMail, 1},
	} {
		t.Run(name, func(t *testing.T) {
			h := hoptest.New(t, func(h *hoptest.Hop) {
				if c.limits != "" {
					h.Extensions = append([]string{"LIMITS " + c.limits}, h.Extensions...)
				}
				h.Reply = func(line string) string {
					if strings.Contains(line, " "+c.word) || c.word == "=" && strings.Contains(line, "=") {
						return c.reply
					}
					return ""
				}
			})
			r, d := to(h, nil), withDSN(text)
			for i, err := range outcomes(t, r, d) {
				if err != nil {
					t.Errorf("recipient %d: %v", i, err)
				}
			}
			said := h.Said("MAIL")
			if said[len(said)-1] != c.mail || h.Connections() != c.connections {
				t.Errorf("%d connections, %q", h.Connections(), h.Said(""))
			}
			if notifies, relayed := d.WasRelayed(d.Recipients[0]); notifies || !relayed {
				t.Errorf("notifies %t, relayed %t", notifies, relayed)
			}
			// The next message gets what is offered.
			if err := outcomes(t, r, letter())[0]; err != nil {
				t.Error(err)
			}
			if c.word == "NOTIFY=" && !strings.Contains(h.Said("MAIL")[len(said)], "SIZE=") {
				t.Errorf("%q", h.Said("MAIL"))
			}
		})
	}
}

// What is refused without parameters is refused, and nothing is asked for ever.
func TestRefusedWithoutParameters(t *testing.T) {
	for name, c := range map[string]struct {
		hop     func(*hoptest.Hop)
		message string
		code    int
		status  smtp.EnhancedCode
		asked   int
	}{
		"MAIL":        {hoptest.On("MAIL", "501 5.5.4 no"), text, 501, smtp.EnhancedCode{5, 5, 4}, 3},
		"the address": {hoptest.On("MAIL", "501 5.1.7 no"), text, 501, smtp.EnhancedCode{5, 1, 7}, 1},
		"RCPT":        {hoptest.On("RCPT", "501 no"), text, 501, smtp.EnhancedCode{}, 2},
		"8-bit mail":  {hoptest.On("MAIL FROM:<alice@example.org> BODY", "555 5.5.4 no"), "Subject: x\r\n\r\nb\xe4r\r\n", 554, smtp.EnhancedCode{5, 6, 3}, 2},
		"hanging up":  {hoptest.On("MAIL", "501 5.5.4 no", "RCPT", "close"), text, 501, smtp.EnhancedCode{5, 5, 4}, 3},
	} {
		h := hoptest.New(t, c.hop)
		for _, err := range outcomes(t, to(h, nil), withDSN(c.message)) {
			wantReply(t, err, c.code, c.status)
		}
		if n := len(h.Said("MAIL")); n != c.asked {
			t.Errorf("%s: asked %d times: %q", name, n, h.Said(""))
		}
	}
}
