package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	oursasl "github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// the specification's dialogue, and what is delivered is what
// was submitted, below a Received field.
func TestSubmission(t *testing.T) {
	in := newInstance(t)
	in.load()
	c := in.connect()
	if reply := c.do("EHLO mijnbedrijf.nl", "250-msa.example.org"); !strings.Contains(reply, "AUTH DIGEST-MD5\r\n") && !strings.HasSuffix(reply, "AUTH DIGEST-MD5") {
		t.Errorf("before TLS: %q", reply)
	}
	c.do("AUTH PLAIN "+b64("\x00alice@example.org\x00secret"), "530 5.7.0 Must issue a STARTTLS command first")
	c.starttls()
	c.do("AUTH PLAIN "+b64("\x00alice@example.org\x00secret"), "235 2.7.0")
	id := c.submit("bob@example.net")
	c.do("QUIT", "221")
	c.closed()
	got := in.arrived(1)[0]
	if !strings.HasSuffix(got.message, letter) || !strings.HasPrefix(got.message, "Received: from ") || !strings.Contains(got.message, id) {
		t.Errorf("delivered %q", got.message)
	}
	if got.sender != "alice@example.org" || got.recipient != "bob@example.net" {
		t.Errorf("envelope %+v", got)
	}
	in.heard("message_accepted")
	in.heard("message_delivered")
	in.logged("session ended", `"accepted":1`)
}

// TLS from the first byte; no mail from strangers.
func TestImplicitTLS(t *testing.T) {
	in := newInstance(t)
	in.load()
	c := in.connectTLS()
	c.do("MAIL FROM:<alice@example.org>", "503 5.5.1")
	c.do("EHLO client.example", "250")
	c.do("MAIL FROM:<alice@example.org>", "530 5.7.0 Authentication required")
	c.do("AUTH PLAIN "+b64("\x00alice@example.org\x00secret"), "235")
	c.envelope("bob@example.net")
	c.send(fmt.Sprintf("BDAT %d LAST\r\n", len(letter)) + letter)
	c.want("250 2.0.0 Ok: queued as")
	in.arrived(1)
}

// authenticate runs a mechanism and returns the last reply.
func (c *dialogue) authenticate(client sasl.Client) string {
	c.in.t.Helper()
	mechanism, initial, err := client.Start()
	if err != nil {
		c.in.t.Fatal(err)
	}
	line := "AUTH " + mechanism
	if initial != nil {
		line += " " + b64(string(initial))
	}
	for {
		c.send(line + "\r\n")
		reply := c.reply()
		challenge, ok := strings.CutPrefix(reply, "334 ")
		if !ok {
			return reply
		}
		response, err := client.Next(unb64(c.in.t, challenge))
		if err != nil {
			line = b64("\x01") // as OAUTHBEARER ends its error (RFC 7628 section 3.2.3)
			continue
		}
		line = b64(string(response))
	}
}

// every mechanism lets the user in, and refuses a wrong password and an unknown name alike.
func TestLogins(t *testing.T) {
	in := newInstance(t)
	in.load(with("auth", map[string]any{
		"mechanisms": []string{"SCRAM-SHA-256", "DIGEST-MD5", "PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2"},
		"throttle":   map[string]any{"off": true},
		"backends":   []any{map[string]any{"module": "fake", "world": in.mail.id}}}))
	for name, client := range map[string]func(user, password string) sasl.Client{
		"PLAIN":         func(u, p string) sasl.Client { return sasl.NewPlainClient("", u, p) },
		"LOGIN":         func(u, p string) sasl.Client { return sasl.NewLoginClient(u, p) },
		"DIGEST-MD5":    func(u, p string) sasl.Client { return oursasl.NewDigestMD5Client(u, p, "", "msa.example.org") },
		"SCRAM-SHA-256": scramClient(t),
		"OAUTHBEARER": func(u, p string) sasl.Client {
			token := "token"
			if p != "secret" || u != "alice@example.org" {
				token = "wrong"
			}
			return sasl.NewOAuthBearerClient(&sasl.OAuthBearerOptions{Username: u, Token: token})
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, try := range []struct{ user, password, want string }{
				{"alice@example.org", "secret", "235 2.7.0"},
				{"alice@example.org", "wrong", "535 5.7.8 Authentication credentials invalid"},
				{"mallory@example.org", "secret", "535 5.7.8 Authentication credentials invalid"},
			} {
				c := in.connectTLS()
				c.do("EHLO client.example", "250")
				if reply := c.authenticate(client(try.user, try.password)); !strings.HasPrefix(reply, try.want) {
					t.Errorf("%s, %s: %q, want %q", try.user, try.password, reply, try.want)
				}
			}
		})
	}
}

// A backend that cannot tell is not a refusal (RFC 4954: the client must not ask for another password),
// and says nothing of its insides.
func TestBackendCannotTell(t *testing.T) {
	in := newInstance(t)
	in.load()
	in.mail.change(func() { in.mail.backend = errors.New("dial tcp 10.0.0.5:5432: refused") })
	c := in.connectTLS()
	c.do("EHLO client.example", "250")
	if reply := c.do("AUTH PLAIN "+b64("\x00alice@example.org\x00secret"), "454 4.7.0"); strings.Contains(reply, "10.0.0.5") {
		t.Error(reply)
	}
	in.logged("10.0.0.5", "alice@example.org")
}

// Policies refuse at each moment, with their name; a failure of theirs is 451 without its cause.
func TestPolicyRefusals(t *testing.T) {
	in := newInstance(t)
	in.load(with("policies", []any{map[string]any{"policy": map[string]any{"module": "fake", "world": in.mail.id}}}))
	var moment string
	var says error
	in.mail.change(func() {
		in.mail.policy = func(at string, _ *caddymsa.Submission, _ *caddymsa.Message) error {
			if at == moment {
				return says
			}
			return nil
		}
	})
	set := func(at string, err error) { in.mail.change(func() { moment, says = at, err }) }
	c := in.session()

	set("sender", caddymsa.Refuse("quiet-hours", "Come back later"))
	c.do("MAIL FROM:<alice@example.org>", "550 5.7.1 Come back later (fake: quiet-hours)")
	set("sender", errors.New("redis at 10.0.0.6"))
	if reply := c.do("MAIL FROM:<alice@example.org>", "451 4.3.0"); strings.Contains(reply, "10.0.0.6") {
		t.Error(reply)
	}
	set("recipient", caddymsa.Refuse("", "Not to this one"))
	c.do("MAIL FROM:<alice@example.org>", "250")
	c.do("RCPT TO:<bob@example.net>", "550 5.7.1 Not to this one (fake)")
	set("message", &caddymsa.Refusal{Code: 554, Status: smtp.EnhancedCode{5, 6, 0}, Text: "No attachment"})
	c.do("RCPT TO:<bob@example.net>", "250")
	c.do("DATA", "354")
	c.send(letter + ".\r\n")
	c.want("554 5.6.0 No attachment (fake)")
	in.heard("message_refused")
	set("message", &caddymsa.AlreadyAccepted{ID: "0123456789ABCDEF"})
	c.envelope("bob@example.net")
	c.do("DATA", "354")
	c.send(letter + ".\r\n")
	c.want("250 2.0.0 Ok: queued as 0123456789ABCDEF")
	set("", nil)
	c.submit("bob@example.net")
	in.arrived(1)
	in.mail.change(func() {
		if n := len(in.mail.ended); n == 0 || !in.mail.ended[n-1] {
			t.Errorf("policies heard of ends %v", in.mail.ended)
		}
	})
}

// What a policy prepends stands between Received and the message; log_only lets pass and says so.
func TestPolicyPrepends(t *testing.T) {
	in := newInstance(t)
	in.mail.policy = func(at string, _ *caddymsa.Submission, m *caddymsa.Message) error {
		if at != "message" {
			return nil
		}
		m.Prepend("X-Checked: yes\r\n")
		return caddymsa.Refuse("", "Never")
	}
	in.load(with("policies", []any{map[string]any{"log_only": true, "match": []any{map[string]any{"content": "How are"}}, "policy": map[string]any{"module": "fake", "world": in.mail.id}}}))
	in.session().submit("bob@example.net")
	if got := in.arrived(1)[0].message; strings.Contains(got, "X-Checked") {
		t.Errorf("log_only has prepended: %q", got)
	}
	in.logged("policy would have refused", "Never")

	in.mail.change(func() {
		in.mail.policy = func(at string, _ *caddymsa.Submission, m *caddymsa.Message) error {
			if at == "message" {
				m.Prepend("X-Checked: yes\r\n")
			}
			return nil
		}
	})
	in.load(with("policies", []any{map[string]any{"policy": map[string]any{"module": "fake", "world": in.mail.id}}}))
	in.session().submit("bob@example.net")
	if got := in.arrived(2)[1].message; !strings.HasSuffix(got, "X-Checked: yes\r\n"+letter) {
		t.Errorf("delivered %q", got)
	}
}

// only as addresses of one's own. Routes take recipients in order; none is 550 5.7.1.
func TestRoutes(t *testing.T) {
	in := newInstance(t)
	sink := func(name string) map[string]any {
		return map[string]any{"module": "fake", "world": in.mail.id, "name": name}
	}
	in.load(with("routes", []any{
		map[string]any{"match": []any{map[string]any{"domain": []string{"a.example"}}}, "sink": sink("first")},
		map[string]any{"match": []any{map[string]any{"domain": []string{"a.example", "b.example"}}}, "sink": sink("second"), "address_map": map[string]any{"module": "fake"}},
	}))
	c := in.session()
	c.do("MAIL FROM:<mallory@example.org>", "550 5.7.1")
	c.envelope("x@a.example", "logical-y@b.example")
	c.do("RCPT TO:<z@c.example>", "550 5.7.1 Recipient is not served here")
	c.do("RCPT TO:<nobody@a.example>", "550 5.1.1 No such mailbox")
	c.do("DATA", "354")
	c.send(letter + ".\r\n")
	c.want("250")
	seen := map[string]string{}
	for _, d := range in.arrived(2) {
		seen[d.sink+" "+d.recipient] = d.sender
	}
	if len(seen) != 2 || seen["first x@a.example"] != "alice@example.org" || seen["second y@b.example"] != "logical-alice@example.org" {
		t.Errorf("%v", seen)
	}
}

// limits are announced and held.
func TestLimits(t *testing.T) {
	in := newInstance(t)
	in.load(with("limits", map[string]any{"message_size": 65536, "recipients": 100, "auth_failures": 2, "bad_commands": 3}))
	c := in.session()
	c.do("MAIL FROM:<alice@example.org> SIZE=65537", "552 5.3.4")
	c.envelope("bob@example.net")
	c.do("DATA", "354")
	c.send("Subject: x\r\n\r\n" + strings.Repeat("0123456789\r\n", 6000) + ".\r\n")
	c.want("552 5.3.4")
	for range 3 {
		c.send("NONSENSE\r\n")
		if reply := c.reply(); strings.HasPrefix(reply, "421 4.7.0") {
			c.closed()
			return
		}
	}
	c.want("421 4.7.0")
	c.closed()
}

// unqueued: the sink's answer is the client's.
func TestUnqueued(t *testing.T) {
	in := newInstance(t)
	in.load(with("routes", []any{map[string]any{"sink": map[string]any{"module": "fake", "world": in.mail.id, "name": "now"}, "unqueued": map[string]any{"timeout": "30s"}}}))
	c := in.session()
	c.envelope("bob@example.net")
	c.do("RCPT TO:<carol@example.net>", "452 4.5.3")
	c.do("DATA", "354")
	c.send(letter + ".\r\n")
	c.want("250 2.0.0 Ok: delivered as ")
	if got := in.mail.copies(); len(got) != 1 || !strings.HasSuffix(got[0].message, letter) {
		t.Errorf("%v", got)
	}
	for _, tt := range []struct {
		err  error
		want string
	}{
		{&smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "No such user here"}, "550 5.1.1 No such user here"},
		{&smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 3, 2}, Message: "Going down"}, "451 4.4.1"},
		{errors.New("dial tcp 10.0.0.7:25: refused"), "451 4.4.1"},
		{errPermanent(), "554 5.0.0"},
	} {
		in.mail.change(func() { in.mail.sink = failing(tt.err) })
		c.envelope("bob@example.net")
		c.do("DATA", "354")
		c.send(letter + ".\r\n")
		if reply := c.want(tt.want); strings.Contains(reply, "10.0.0.7") {
			t.Error(reply)
		}
	}
}

// unqueued: what a policy holds is in the spool until the operator releases it, as anywhere.
func TestUnqueuedHeld(t *testing.T) {
	in := newInstance(t)
	in.load(in.fakePolicy(), with("routes", []any{map[string]any{"sink": map[string]any{"module": "fake", "world": in.mail.id, "name": "now"}, "unqueued": map[string]any{}}}))
	in.mail.change(func() {
		in.mail.policy = func(moment string, s *caddymsa.Submission, _ *caddymsa.Message) error {
			if moment == "message" {
				s.Held = "looks odd"
			}
			return nil
		}
	})
	id := in.session().submit("bob@example.net")
	in.kinds(id, "accepted held")
	in.told("message_held", func(d map[string]any) bool { return d["queue_id"] == id })
	if got := in.mail.copies(); len(got) != 0 {
		t.Fatalf("%v", got)
	}
	if _, body := in.admin("POST", "/msa/queue-actions/release", `{"ids": ["`+id+`"]}`); !strings.Contains(body, `"done":["`+id) {
		t.Error(body)
	}
	if got := in.arrived(1); !strings.HasSuffix(got[0].message, letter) {
		t.Errorf("%v", got)
	}
	in.kinds(id, "accepted held released delivered")
}

// A client that goes away in the midst of its message leaves nothing.
func TestTruncated(t *testing.T) {
	in := newInstance(t)
	in.load()
	c := in.session()
	c.envelope("bob@example.net")
	c.do("DATA", "354")
	c.send(letter)
	_ = c.nc.Close()
	in.logged("message not received whole", `"user":"alice@example.org"`)
	if n := len(in.mail.copies()); n != 0 {
		t.Errorf("%d delivered", n)
	}
}

// The spool's trouble is 452 when it is full and 451 else, and nothing is accepted.
func TestSpoolTrouble(t *testing.T) {
	in := newInstance(t)
	var trouble atomic.Value // what fails
	trouble.Store("create")
	in.mail.spool.Fault = func(op string, _ *queue.Entry) error {
		if op == trouble.Load() {
			return io.ErrUnexpectedEOF
		}
		return nil
	}
	in.load()
	c := in.session()
	c.envelope("bob@example.net")
	c.do("DATA", "451 4.3.0")
	trouble.Store("commit")
	c.do("RSET", "250")
	c.envelope("bob@example.net")
	c.do("DATA", "354")
	c.send(letter + ".\r\n")
	c.want("451 4.3.0")
	trouble.Store("nothing")
	c.submit("bob@example.net")
	in.arrived(1)
}

// A message that the spool has had before, perhaps from another node, is answered with the first one's queue id, and not stored.
func TestAcceptedBefore(t *testing.T) {
	in := newInstance(t)
	in.mail.policy = func(at string, s *caddymsa.Submission, _ *caddymsa.Message) error {
		if at == "message" {
			s.Once = &queue.Once{Digest: [32]byte{1}, Keep: time.Hour}
		}
		return nil
	}
	in.load(with("policies", []any{map[string]any{"policy": map[string]any{"module": "fake", "world": in.mail.id}}}))
	c := in.session()
	first, second := c.submit("bob@example.net"), c.submit("bob@example.net")
	if first != second {
		t.Errorf("accepted as %s, and then as %s", first, second)
	}
	in.logged("message accepted before", first)
	in.arrived(1)
	in.await("an empty queue", func() bool { n, _, _ := in.mail.spool.Size(context.Background()); return n == 0 })
	if got := len(in.arrived(1)); got != 1 {
		t.Errorf("delivered %d times", got)
	}
}
