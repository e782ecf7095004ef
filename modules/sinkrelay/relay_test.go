package sinkrelay

import (
	"context"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

var caddyContext = caddy.Context{Context: context.Background()}

const text = "Subject: test\r\n\r\nHello.\r\n"

func TestConformance(t *testing.T) {
	for name, set := range map[string]func(*hop){
		"STARTTLS": nil,
		"implicit": func(h *hop) { h.implicit = true },
		"clear":    func(h *hop) { h.tls = nil },
	} {
		t.Run(name, func(t *testing.T) {
			msatest.Sink(t, func(t testing.TB) (queue.Sink, func() [][]byte) {
				h := newHop(t, set)
				return h.sink(func(r *Relay) {
					if h.tls == nil {
						r.TLS, r.CA = nexthop.TLSOff, nil
					}
				}), h.fetch
			})
		})
	}
}

func outcomes(t *testing.T, r *Relay, d *queue.Delivery) []error {
	t.Helper()
	err := r.Deliver(t.Context(), d)
	var all []error
	for _, rcpt := range d.Recipients {
		all = append(all, d.Outcome(rcpt, err))
	}
	return all
}

// wantReply checks for a reply "code class.subject.detail".
func wantReply(t *testing.T, err error, code int, enhanced smtp.EnhancedCode) {
	t.Helper()
	reply := nexthop.ReplyOf(err)
	if reply == nil || reply.Code != code || reply.EnhancedCode != enhanced {
		t.Errorf("want %d %v, have %v", code, enhanced, err)
	}
}

// wantTemporary checks that err is no reply and says what.
func wantTemporary(t *testing.T, err error, what string) {
	t.Helper()
	if err == nil || msatest.IsPermanent(err) || nexthop.ReplyOf(err) != nil || !strings.Contains(err.Error(), what) {
		t.Errorf("want a temporary error with %q, have %v", what, err)
	}
}

// on gives a reply to lines with a prefix, alternating prefixes and replies.
func on(pairs ...string) func(*hop) {
	return func(h *hop) {
		h.reply = func(line string) string {
			for i := 0; i < len(pairs); i += 2 {
				if strings.HasPrefix(line, pairs[i]) {
					return pairs[i+1]
				}
			}
			return ""
		}
	}
}

// What goes on the wire: exact spellings, and one connection for all.
func TestDialogue(t *testing.T) {
	h := newHop(t, nil)
	r := h.sink(nil)
	d := msatest.NewDelivery([]byte(text), `"a b"@Example.ORG`, "ü@bücher.example")
	d.Entry.Sender, d.Entry.SMTPUTF8, d.Entry.Return, d.Entry.EnvelopeID = `"x\"y"@Example.org`, true, "HDRS", "id+1 =x"
	d.Recipients[0].Notify, d.Recipients[0].ORCPT = []string{"SUCCESS", "FAILURE"}, "rfc822;a+20b+2B@example.org"
	d.Recipients[1].Notify, d.Recipients[1].ORCPT = []string{"NEVER"}, `utf-8;\x{FC}@example.org`
	for range 3 {
		for _, err := range outcomes(t, r, d) {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	want := []string{
		"EHLO msa.example.org", "STARTTLS", "EHLO msa.example.org",
		`MAIL FROM:<"x\"y"@Example.org> BODY=8BITMIME SIZE=25 SMTPUTF8 RET=HDRS ENVID=id+2B1+20+3Dx`,
		`RCPT TO:<"a b"@Example.ORG> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;a+20b+2B@example.org`,
		`RCPT TO:<ü@bücher.example> NOTIFY=NEVER ORCPT=utf-8;\x{FC}@example.org`,
		"DATA",
	}
	want = append(append(want, want[3:]...), want[3:]...)
	if have := h.said(""); strings.Join(have, "\n") != strings.Join(want, "\n") {
		t.Errorf("have\n%s\nwant\n%s", strings.Join(have, "\n"), strings.Join(want, "\n"))
	}
	if h.connections() != 1 || len(h.fetch()) != 3 {
		t.Errorf("%d connections, %d messages", h.connections(), len(h.fetch()))
	}
}

// BenchmarkDeliver relays over loopback in clear, to a hop that costs little.
func BenchmarkDeliver(b *testing.B) {
	for name, size := range map[string]int{"4KiB": 4 << 10, "20MiB": 20 << 20} {
		message := []byte(strings.Repeat(strings.Repeat("x", 70)+"\r\n", size/72))
		b.Run(name, func(b *testing.B) {
			h := newHop(b, func(h *hop) { h.tls, h.forget = nil, true })
			r := h.sink(func(r *Relay) { r.TLS, r.CA = nexthop.TLSOff, nil })
			b.SetBytes(int64(len(message)))
			b.ReportAllocs()
			for b.Loop() {
				if err := r.Deliver(b.Context(), msatest.NewDelivery(message, "bob@example.org")); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
