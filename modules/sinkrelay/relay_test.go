package sinkrelay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	gosasl "github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
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
						r.TLS, r.TrustedRoots = tlsOff, nil
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
	reply, ok := err.(*smtp.SMTPError) //nolint:errorlint // bare, so that no reader of it has to unwrap
	if !ok || reply.Code != code || reply.EnhancedCode != enhanced {
		t.Errorf("want %d %v, have %v", code, enhanced, err)
	}
}

// wantTemporary checks that err is no reply and says what.
func wantTemporary(t *testing.T, err error, what string) {
	t.Helper()
	if err == nil || msatest.IsPermanent(err) || replyOf(err) != nil || !strings.Contains(err.Error(), what) {
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
		`RCPT TO:<"a b"@Example.ORG> NOTIFY=SUCCESS,FAILURE ORCPT=RFC822;a+20b+2B@example.org`,
		"RCPT TO:<ü@bücher.example> NOTIFY=NEVER ORCPT=UTF-8;ü@example.org",
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
		hop        func(*hop)
		bob, carol func(*testing.T, error)
		messages   int
	}{
		"one recipient":       {on("RCPT TO:<bob", "550 5.1.1 unknown"), is(550, 5, 1, 1), ok, 1},
		"one for now":         {on("RCPT TO:<bob", "450 4.2.1 later"), is(450, 4, 2, 1), ok, 1},
		"each its own":        {on("RCPT TO:<bob", "550 5.1.1 unknown", "RCPT TO:<carol", "450 4.2.1 x"), is(550, 5, 1, 1), is(450, 4, 2, 1), 0},
		"too many":            {on("RCPT TO:<carol", "552 too many"), ok, is(452, 4, 5, 3), 1},
		"mailbox full":        {on("RCPT TO:<carol", "552 5.2.2 full"), ok, is(552, 5, 2, 2), 1},
		"MAIL":                {on("MAIL", "550 5.7.1 no"), is(550, 5, 7, 1), is(550, 5, 7, 1), 0},
		"MAIL for now":        {on("MAIL", "451 4.3.0 no"), is(451, 4, 3, 0), is(451, 4, 3, 0), 0},
		"MAIL without log-in": {on("MAIL", "530 5.7.0 log in"), temporary, temporary, 0},
		"DATA":                {on("DATA", "554 5.5.1 no"), is(554, 5, 5, 1), is(554, 5, 5, 1), 0},
		"content":             {on(".", "554 5.7.1 spam"), is(554, 5, 7, 1), is(554, 5, 7, 1), 1},
		"mixed at the end":    {on("RCPT TO:<bob", "550 5.1.1 unknown", ".", "451 4.3.2 x"), is(550, 5, 1, 1), is(451, 4, 3, 2), 1},
		"421 at RCPT":         {on("RCPT TO:<carol", "421 4.3.2 bye"), is(421, 4, 3, 2), is(421, 4, 3, 2), 0},
		"421 at DATA":         {on("RCPT TO:<bob", "550 5.1.1 unknown", "DATA", "421 4.3.2 bye"), is(550, 5, 1, 1), is(421, 4, 3, 2), 0},
		"nonsense":            {on("RCPT TO:<bob", "hello?"), temporary, temporary, 0},
		"wrong reply":         {on("DATA", "250 2.0.0 what?"), temporary, temporary, 0},
		"closes at RCPT":      {on("RCPT TO:<bob", "close"), temporary, temporary, 0},
		"closes at end":       {on(".", "close"), temporary, temporary, 1},
		"greeting":            {on("connect", "554 5.7.1 go away"), temporary, temporary, 0},
		"EHLO":                {on("EHLO", "550 5.7.1 go away"), temporary, temporary, 0},
		"STARTTLS":            {on("STARTTLS", "454 4.7.0 no"), temporary, temporary, 0},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHop(t, c.hop)
			r := h.sink(nil)
			d := msatest.NewDelivery([]byte(text), bob, carol)
			out := outcomes(t, r, d)
			c.bob(t, out[0])
			c.carol(t, out[1])
			if len(h.fetch()) != c.messages {
				t.Errorf("%d messages", len(h.fetch()))
			}
			for i, err := range out {
				if want := replyOf(err) != nil; want != (d.Recipients[i].RemoteMTA == "127.0.0.1") && name != "421 at RCPT" && name != "MAIL without log-in" {
					t.Errorf("remote MTA %q with %v", d.Recipients[i].RemoteMTA, err)
				}
			}
			// The connection is in order, or another is used.
			h.mu.Lock()
			h.messages = nil
			h.mu.Unlock()
			if replies := h.reply; replies("connect") == "" && replies("EHLO") == "" && replies("STARTTLS") == "" {
				err := r.Deliver(t.Context(), msatest.NewDelivery([]byte(text), "dave@example.org"))
				if replies("MAIL")+replies("DATA")+replies(".") == "" && (err != nil || len(h.fetch()) != 1) {
					t.Errorf("next message: %v", err)
				}
			}
		})
	}
}

// What the next hop cannot take fails with the right code, nothing else does.
func TestCapabilities(t *testing.T) {
	const eight, utf8Header = "Subject: x\r\n\r\nb\xe4r\r\n", "Subject: \u00fc\r\n\r\nx\r\n"
	without := func(names ...string) func(*hop) {
		return func(h *hop) {
			h.extensions = nil
			for _, e := range usual {
				if !strings.Contains(strings.Join(names, " "), strings.Fields(e)[0]) {
					h.extensions = append(h.extensions, e)
				}
			}
		}
	}
	for name, c := range map[string]struct {
		hop     func(*hop)
		message string
		change  func(*queue.Entry)
		code    int
		status  smtp.EnhancedCode
	}{
		"8bit":                  {nil, eight, nil, 0, smtp.EnhancedCode{}},
		"8bit refused":          {without("8BITMIME"), eight, nil, 554, smtp.EnhancedCode{5, 6, 3}},
		"7bit said 8bit":        {without("8BITMIME"), text, nil, 0, smtp.EnhancedCode{}},
		"nothing offered":       {func(h *hop) { h.extensions = nil }, text, func(e *queue.Entry) { e.Return = "FULL"; e.EnvelopeID = "x" }, 0, smtp.EnhancedCode{}},
		"too large":             {func(h *hop) { h.extensions = []string{"SIZE 10"} }, text, nil, 552, smtp.EnhancedCode{5, 3, 4}},
		"just fits":             {func(h *hop) { h.extensions = []string{"SIZE 25"} }, text, nil, 0, smtp.EnhancedCode{}},
		"no limit":              {func(h *hop) { h.extensions = []string{"SIZE 0"} }, text, nil, 0, smtp.EnhancedCode{}},
		"utf8 needless":         {without("SMTPUTF8"), text, func(e *queue.Entry) { e.SMTPUTF8 = true }, 0, smtp.EnhancedCode{}},
		"utf8 body only":        {without("SMTPUTF8"), eight, func(e *queue.Entry) { e.SMTPUTF8 = true }, 0, smtp.EnhancedCode{}},
		"utf8 header":           {without("SMTPUTF8"), utf8Header, func(e *queue.Entry) { e.SMTPUTF8 = true }, 550, smtp.EnhancedCode{5, 6, 7}},
		"utf8 sender":           {without("SMTPUTF8"), text, func(e *queue.Entry) { e.SMTPUTF8 = true; e.Sender = "ü@example.org" }, 550, smtp.EnhancedCode{5, 6, 7}},
		"utf8 header not asked": {without("SMTPUTF8"), utf8Header, nil, 0, smtp.EnhancedCode{}},
		"bad ENVID":             {nil, text, func(e *queue.Entry) { e.EnvelopeID = "\x01"; e.Return = "?" }, 0, smtp.EnhancedCode{}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHop(t, c.hop)
			d := msatest.NewDelivery([]byte(c.message), "bob@example.org")
			if c.change != nil {
				c.change(d.Entry)
			}
			err := outcomes(t, h.sink(nil), d)[0]
			if c.code != 0 {
				wantReply(t, err, c.code, c.status)
				if len(h.said("MAIL")) != 0 || d.Recipients[0].RemoteMTA != "" {
					t.Error("the next hop was asked")
				}
			} else if err != nil || len(h.fetch()) != 1 || string(h.fetch()[0]) != c.message {
				t.Errorf("%v, have %q", err, h.fetch())
			}
		})
	}
	t.Run("utf8 recipient", func(t *testing.T) {
		h := newHop(t, without("SMTPUTF8"))
		d := msatest.NewDelivery([]byte(text), "ü@example.org", "bob@example.org")
		d.Entry.SMTPUTF8 = true
		out := outcomes(t, h.sink(nil), d)
		wantReply(t, out[0], 553, smtp.EnhancedCode{5, 6, 7})
		if out[1] != nil || len(h.fetch()) != 1 {
			t.Error(out[1])
		}
	})
}

func TestTLS(t *testing.T) {
	d := func() *queue.Delivery { return msatest.NewDelivery([]byte(text), "bob@example.org") }
	for _, implicit := range []bool{false, true} {
		h := newHop(t, func(h *hop) { h.implicit = implicit })
		other := newHop(t, nil)
		wantTemporary(t, h.sink(func(r *Relay) { r.TrustedRoots = nil }).Deliver(t.Context(), d()), "TLS: tls: failed to verify certificate")
		wantTemporary(t, h.sink(func(r *Relay) { r.TrustedRoots = []string{other.root} }).Deliver(t.Context(), d()), "TLS: tls: failed to verify certificate")
		wantTemporary(t, h.sink(func(r *Relay) { r.TLSServerName = "other.example" }).Deliver(t.Context(), d()), "other.example")
		for _, set := range []func(*Relay){
			nil, func(r *Relay) { r.TLSServerName = "hop.example" },
			func(r *Relay) { r.TrustedRoots, r.InsecureSkipVerify = nil, true },
		} {
			if err := h.sink(set).Deliver(t.Context(), d()); err != nil {
				t.Error(err)
			}
		}
		if len(h.fetch()) != 3 {
			t.Errorf("%d messages", len(h.fetch()))
		}
	}
	h := newHop(t, func(h *hop) { h.tls = nil })
	wantTemporary(t, h.sink(nil).Deliver(t.Context(), d()), "does not offer STARTTLS")
	h = newHop(t, on("STARTTLS", "220 go\r\n250 injected"))
	wantTemporary(t, h.sink(nil).Deliver(t.Context(), d()), "")
	if len(h.said("MAIL")) != 0 {
		t.Error("MAIL after an injected reply")
	}
}

func TestAuth(t *testing.T) {
	check := func(user, password string) error {
		if user != "alice" || password != "s3cret" {
			return errors.New("no")
		}
		return nil
	}
	credential, err := sasl.NewSCRAMCredential("s3cret", []byte("0123456789abcdef"), 4096)
	if err != nil {
		t.Fatal(err)
	}
	servers := map[string]func() gosasl.Server{
		"PLAIN": func() gosasl.Server { return sasl.NewPlain(check) },
		"LOGIN": func() gosasl.Server { return sasl.NewLogin(check) },
		"SCRAM-SHA-256": func() gosasl.Server {
			return sasl.NewSCRAM(sasl.SCRAMConfig{
				Lookup: func(string) (sasl.SCRAMCredential, error) { return credential, nil },
			})
		},
	}
	t.Setenv("MSA_PASSWORD", "s3cret")
	for _, m := range []string{"PLAIN", "LOGIN", "SCRAM-SHA-256", ""} {
		h := newHop(t, func(h *hop) { h.auth = servers })
		login := func(password Password) error {
			return h.sink(func(r *Relay) { r.Auth = &Auth{"alice", password, m} }).
				Deliver(t.Context(), msatest.NewDelivery([]byte(text), "bob@example.org"))
		}
		for range 2 {
			if err := login("{env.MSA_PASSWORD}"); err != nil {
				t.Errorf("%s: %v", m, err)
			}
		}
		err := login("wr0ng")
		wantTemporary(t, err, "log in with")
		if strings.Contains(err.Error(), "wr0ng") {
			t.Errorf("the password is in %v", err)
		}
		if m == "" && len(h.said("AUTH SCRAM-SHA-256")) != 3 {
			t.Errorf("chose %q", h.said("AUTH"))
		}
	}
	h := newHop(t, nil)
	wantTemporary(t, h.sink(func(r *Relay) { r.Auth = &Auth{"alice", "x", ""} }).
		Deliver(t.Context(), msatest.NewDelivery([]byte(text), "bob@example.org")), "offers no mechanism")
}

// A next hop that says nothing costs no more than the timeout, whatever it was
// to say; nothing after the end of the context.
func TestStalls(t *testing.T) {
	large := []byte(strings.Repeat(strings.Repeat("x", 70)+"\r\n", 1<<18))
	for _, at := range []string{"connect", "EHLO", "STARTTLS", "MAIL", "RCPT", "DATA", "body", "."} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			h := newHop(t, on(at, "stall"))
			timeout := caddy.Duration(50 * time.Millisecond)
			r := h.sink(func(r *Relay) { r.Timeouts = Timeouts{timeout, timeout, timeout, timeout} })
			wantTemporary(t, r.Deliver(t.Context(), msatest.NewDelivery(large, "bob@example.org")), "i/o timeout")

			ctx, cancel := context.WithCancel(t.Context())
			h = newHop(t, func(h *hop) {
				on(at, "stall")(h)
				reply := h.reply
				h.reply = func(line string) string {
					if s := reply(line); s != "" {
						cancel()
						return s
					}
					return ""
				}
			})
			err := h.sink(nil).Deliver(ctx, msatest.NewDelivery(large, "bob@example.org"))
			wantTemporary(t, err, "context canceled")
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
}

// A next hop that never ends a reply costs no memory to speak of.
func TestEndlessReply(t *testing.T) {
	for _, at := range []string{"connect", "EHLO", "MAIL"} {
		h := newHop(t, on(at, strings.Repeat("250-and another thing\r\n", 1<<16)))
		err := h.sink(nil).Deliver(t.Context(), msatest.NewDelivery([]byte(text), "bob@example.org"))
		wantTemporary(t, err, "")
	}
}

// go-smtp's server, a peer that is not of our making, takes what is sent.
func TestGoSMTP(t *testing.T) {
	b := &backend{}
	server := smtp.NewServer(b)
	server.Domain, server.EnableSMTPUTF8, server.EnableDSN = "hop.example", true, true
	var root string
	server.TLSConfig, root = certificate(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
	r := &Relay{Host: l.Addr().String(), TrustedRoots: []string{root}}
	if err := r.Provision(caddyContext); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Cleanup() })
	message := "Subject: \u00fc\r\n\r\n.\r\n..x\r\n"
	for range 2 {
		d := msatest.NewDelivery([]byte(message), "ü@example.org", "refused@example.org")
		d.Entry.SMTPUTF8, d.Entry.EnvelopeID, d.Entry.Return = true, "e=1", "FULL"
		d.Recipients[0].ORCPT, d.Recipients[0].Notify = "rfc822;x+2By@example.org", []string{"SUCCESS"}
		out := outcomes(t, r, d)
		if out[0] != nil {
			t.Fatal(out[0])
		}
		wantReply(t, out[1], 550, smtp.EnhancedCode{5, 1, 1})
	}
	want := "alice@example.org true e=1 FULL 8BITMIME, ü@example.org x+y@example.org [SUCCESS]: " + message
	if have := b.have; len(have) != 2 || have[0] != want || have[1] != want {
		t.Errorf("have %q, want %q", have, want)
	}
}

// backend notes what it is given.
type backend struct {
	line string
	have []string
}

func (b *backend) NewSession(*smtp.Conn) (smtp.Session, error) { return b, nil }
func (b *backend) Reset()                                      {}
func (b *backend) Logout() error                               { return nil }

func (b *backend) Mail(from string, o *smtp.MailOptions) error {
	b.line = fmt.Sprint(from, " ", o.UTF8, " ", o.EnvelopeID, " ", o.Return, " ", o.Body)
	return nil
}

func (b *backend) Rcpt(to string, o *smtp.RcptOptions) error {
	if strings.HasPrefix(to, "refused") {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "unknown"}
	}
	b.line += fmt.Sprint(", ", to, " ", o.OriginalRecipient, " ", o.Notify)
	return nil
}

func (b *backend) Data(r io.Reader) error {
	m, err := io.ReadAll(r)
	b.have = append(b.have, b.line+": "+string(m))
	return err
}

// An idle connection that died is replaced before anything is lost.
func TestDeadConnection(t *testing.T) {
	for _, goodbye := range []string{"close", "421 4.4.2 idle too long"} {
		var first bool
		h := newHop(t, func(h *hop) {
			h.reply = func(line string) string {
				if !strings.HasPrefix(line, "MAIL") || h.connections() > 1 {
					return ""
				}
				if first = !first; first {
					return ""
				}
				return goodbye
			}
		})
		r := h.sink(nil)
		for range 3 {
			d := msatest.NewDelivery([]byte(text), "bob@example.org")
			if err := r.Deliver(t.Context(), d); err != nil || d.Recipients[0].RemoteMTA != "" {
				t.Fatal(err)
			}
		}
		if h.connections() != 2 || len(h.fetch()) != 3 {
			t.Errorf("%d connections, %d messages", h.connections(), len(h.fetch()))
		}
	}
	// On a fresh connection it is an error, not a loop.
	h := newHop(t, on("MAIL", "close"))
	wantTemporary(t, h.sink(nil).Deliver(t.Context(), msatest.NewDelivery([]byte(text), "bob@example.org")), "MAIL")
	if h.connections() != 1 {
		t.Errorf("%d connections", h.connections())
	}
}

func TestPool(t *testing.T) {
	deliver := func(r *Relay) {
		t.Helper()
		if err := r.Deliver(t.Context(), msatest.NewDelivery([]byte(text), "bob@example.org")); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("messages", func(t *testing.T) {
		h := newHop(t, nil)
		r := h.sink(func(r *Relay) { r.Messages = 2 })
		for range 5 {
			deliver(r)
		}
		<-h.closed
		<-h.closed
		if h.connections() != 3 || len(h.said("QUIT")) != 2 {
			t.Errorf("%d connections, %q", h.connections(), h.said("QUIT"))
		}
	})
	t.Run("none", func(t *testing.T) {
		h := newHop(t, nil)
		r := h.sink(func(r *Relay) { r.Connections = -1 })
		deliver(r)
		deliver(r)
		<-h.closed
		<-h.closed
	})
	t.Run("idle timeout", func(t *testing.T) {
		h := newHop(t, nil)
		deliver(h.sink(func(r *Relay) { r.IdleTimeout = caddy.Duration(time.Millisecond) }))
		<-h.closed
		if len(h.said("QUIT")) != 1 {
			t.Error("no QUIT")
		}
	})
	t.Run("Cleanup", func(t *testing.T) {
		h := newHop(t, nil)
		r := h.sink(nil)
		deliver(r)
		_ = r.Cleanup()
		<-h.closed
		deliver(r) // one that was under way
		<-h.closed
		if len(h.said("QUIT")) != 2 {
			t.Error("no QUIT")
		}
	})
}

// Nobody there: temporary, and it says who.
func TestUnreachable(t *testing.T) {
	r := &Relay{Host: "127.0.0.1:1"}
	if err := r.Provision(caddyContext); err != nil {
		t.Fatal(err)
	}
	wantTemporary(t, r.Deliver(t.Context(), msatest.NewDelivery([]byte(text), "bob@example.org")), "relay to 127.0.0.1:1")
}
