package app

import (
	"io"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
)

// A message has one line with all that it may be looked for by, whether it was accepted, accepted before or refused.
func TestAccessLine(t *testing.T) {
	in := newInstance(t)
	in.load(
		with("policies", []any{map[string]any{"policy": map[string]any{"module": "fake", "world": in.mail.id}}}),
		with("routes", []any{
			map[string]any{"name": "net", "sink": in.fake("net"), "match": []any{map[string]any{"domain": []string{"example.net"}}}},
			map[string]any{"name": "others", "sink": in.fake("others")},
		}),
		with("limits", map[string]any{"priority": 3}))
	var answer error
	in.mail.policy = func(moment string, s *caddymsa.Submission, _ *caddymsa.Message) error {
		if moment != "message" {
			return nil
		}
		if answer == nil {
			s.Held = "looks odd"
		}
		return answer
	}
	all := []string{`"server":"main"`, `"session":"`, `"remote_ip":"`, `"user":"alice@example.org"`, `"sender":"alice@example.org"`,
		`"recipients":["bob@example.net","carol@example.net","dave@example.com"]`, `"size":`, `"mechanism":"PLAIN"`, `"helo":"client.example"`,
		`"tls":"TLS1.3 TLS_`, `"duration":`, `"recipient_count":3`, `"message_id":"<1@example.org>"`, `"routes":["net","others"]`, `"priority":2`, `"queue_id":"`}
	c := in.session()
	text := "Message-ID:\r\n <1@example.org>\r\n" + letter
	submit := func(reply string) {
		c.do("MAIL FROM:<alice@example.org> MT-PRIORITY=2", "250")
		for _, r := range []string{"bob@example.net", "carol@example.net", "dave@example.com"} {
			c.do("RCPT TO:<"+r+">", "250")
		}
		c.do("DATA", "354")
		c.send(text + ".\r\n")
		c.want(reply)
	}
	submit("250 2.0.0 Ok: queued as")
	in.logged(append(all, `"msg":"message accepted"`, `"held":"looks odd"`, `"policies":["fake: held"]`)...)
	in.mail.change(func() { answer = &caddymsa.AlreadyAccepted{ID: "FIRST"} })
	submit("250 2.0.0 Ok: queued as FIRST")
	in.logged(append(all, `"msg":"message accepted before"`, `"queue_id":"FIRST"`)...)
	in.mail.change(func() { answer = caddymsa.Refuse("odd", "No") })
	submit("550")
	in.logged(append(all, `"msg":"message refused"`, `"reply":"550 5.7.1 No (fake: odd)"`, `"policy":"fake"`, `"rule":"odd"`)...)
	text += "Signed\nbadly\r\n" // which the engine refuses
	submit("554 5.6.0 Message has a bare LF")
	for _, field := range all {
		if !strings.HasPrefix(field, `"message_id"`) { // nobody reads the header of what has such lines
			in.logged(field, `"msg":"message refused"`, `"reply":"554 5.6.0 Message has a bare LF`)
		}
	}
	text = strings.Repeat("Received: x\r\n", 100) + "\r\n"
	submit("554 5.4.6")
	in.logged(`"msg":"message refused"`, `"reply":"554 5.4.6`, `"helo":"client.example"`, `"recipient_count":3`)
	in.await("one line each", func() bool {
		return strings.Count(in.log(), `"msg":"message accepted"`) == 1 && strings.Count(in.log(), `"msg":"message accepted before"`) == 1 && strings.Count(in.log(), `"msg":"message refused"`) == 3
	})
}

// The line of a log-in that fails names the user, also where no backend was asked: a device that was given no password.
func TestAuthFailureNamesUser(t *testing.T) {
	in := newInstance(t)
	in.load()
	c := in.connectTLS()
	c.do("EHLO client.example", "250")
	c.do("AUTH PLAIN "+b64("\x00alice@example.org\x00"), "501 5.5.2")
	c.do("AUTH PLAIN "+b64("bob@example.org\x00alice@example.org\x00secret"), "535 5.7.8")
	for _, reply := range []string{"501 5.5.2", "535 5.7.8"} {
		in.logged(`"authentication failed"`, `"user":"alice@example.org"`, `"reply":"`+reply)
	}
}

// BenchmarkAccessLine is what the line of a message costs, written to a file as Caddy does, and to nowhere.
func BenchmarkAccessLine(b *testing.B) {
	file, err := os.Create(b.TempDir() + "/log")
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	for name, to := range map[string]io.Writer{"file": file, "nowhere": io.Discard} {
		log := terminal.Logger(zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.Lock(zapcore.AddSync(to)), zap.InfoLevel)))
		e := &queue.Entry{ID: "M8KJJ2M6ZSFV0R87", Server: "main", Sender: "alice@example.org", Recipients: []queue.Recipient{{Address: "bob@example.net"}},
			Mechanism: "PLAIN", Helo: "client.example", TLS: "TLS1.3 TLS_AES_128_GCM_SHA256"}
		tx := &transaction{sub: &caddymsa.Submission{Entry: e}, size: 4096, began: time.Now(), routes: []*RouteConfig{{name: "main"}}}
		s := &session{ip: netip.MustParseAddr("192.0.2.1"), client: &request{id: "66cfc6b9f784bf63"}, login: &login{identity: caddymsa.Identity{User: "alice@example.org"}}}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				log.Info("message accepted", append(s.appendFields(tx.access(nil)), zap.String(fieldQueueID, e.ID))...)
			}
		})
	}
}
