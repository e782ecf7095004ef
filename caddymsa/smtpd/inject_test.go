package smtpd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
)

// inject has a message come by another protocol.
func inject(b *backend, e *Envelope, text string) (Reply, error) {
	i, err := Inject(context.Background(), &session{b: b}, b.Settings(), e)
	if err != nil {
		return Reply{}, err
	}
	defer i.Abort(errors.New("over"))
	for octet := range strings.SplitSeq(text, "") {
		if _, err := i.Write([]byte(octet)); err != nil {
			return Reply{}, err
		}
	}
	return i.Commit(context.Background())
}

// What is refused by the one protocol is refused by the other, with the same words, and the session hears of both alike.
func TestInjectRefusals(t *testing.T) {
	const from, to = "alice@example.org", "bob@example.net"
	for name, tt := range map[string]struct {
		e    Envelope
		text string
		said string // by SMTP, up to the command that is refused
	}{
		"sender":                    {Envelope{Sender: "alice@@example.org", Recipients: []string{to}}, "", "MAIL FROM:<alice@@example.org>"},
		"sender, not qualified":     {Envelope{Sender: "alice", Recipients: []string{to}}, "", "MAIL FROM:<alice>"},
		"sender, postmaster":        {Envelope{Sender: "Postmaster", Recipients: []string{to}}, "", "MAIL FROM:<Postmaster>"},
		"size":                      {Envelope{Sender: from, Recipients: []string{to}, Size: 52428801}, "", "MAIL FROM:<alice@example.org> SIZE=52428801"},
		"ret":                       {Envelope{Sender: from, Recipients: []string{to}, Return: "SOME"}, "", "MAIL FROM:<alice@example.org> RET=SOME"},
		"envid":                     {Envelope{Sender: from, Recipients: []string{to}, EnvelopeID: "a\r\nb"}, "", "MAIL FROM:<alice@example.org> ENVID=a+0D+0Ab"},
		"body":                      {Envelope{Sender: from, Recipients: []string{to}, Body: "BINARYMIME"}, "", "MAIL FROM:<alice@example.org> BODY=BINARYMIME"},
		"priority":                  {Envelope{Sender: from, Recipients: []string{to}, Priority: "1"}, "", "MAIL FROM:<alice@example.org> MT-PRIORITY=1"},
		"recipient":                 {Envelope{Sender: from, Recipients: []string{"b..b@example.net"}}, "", "MAIL FROM:<alice@example.org>\nRCPT TO:<b..b@example.net>"},
		"no recipient":              {Envelope{Sender: from, Recipients: []string{""}}, "", "MAIL FROM:<alice@example.org>\nRCPT TO:<>"},
		"recipient, not qualified":  {Envelope{Sender: from, Recipients: []string{"bob"}}, "", "MAIL FROM:<alice@example.org>\nRCPT TO:<bob>"},
		"recipient with parameters": {Envelope{Sender: from, Recipients: []string{"bob@example.net> NOTIFY=NEVER <x@example.net"}}, "", ""},
		"notify":                    {Envelope{Sender: from, Recipients: []string{to}, Notify: "SOON"}, "", "MAIL FROM:<alice@example.org>\nRCPT TO:<bob@example.net> NOTIFY=SOON"},
		"bare LF":                   {Envelope{Sender: from, Recipients: []string{to}}, "a\nb\r\n", "MAIL FROM:<alice@example.org>\nRCPT TO:<bob@example.net>"},
		"bare CR":                   {Envelope{Sender: from, Recipients: []string{to}}, "a\rb\r\n", "MAIL FROM:<alice@example.org>\nRCPT TO:<bob@example.net>"},
		"NUL":                       {Envelope{Sender: from, Recipients: []string{to}}, "a\x00\r\n", "MAIL FROM:<alice@example.org>\nRCPT TO:<bob@example.net>"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBackend()
			_, err := inject(b, &tt.e, tt.text)
			reply, ok := errors.AsType[*smtp.SMTPError](err)
			if !ok || b.open != 0 || len(b.messages) > 0 {
				t.Fatalf("%v, %d open, messages %q", err, b.open, b.messages)
			}
			if tt.said == "" {
				return
			}
			other := newBackend()
			c := talk(t, other, atReady, "")
			_ = c.raw.SetDeadline(time.Now().Add(patience))
			commands := strings.Split(tt.said, "\n")
			if tt.text != "" {
				commands = append(commands, fmt.Sprintf("BDAT %d LAST\r\n%s", len(tt.text), tt.text[:len(tt.text)-2]))
			}
			for i, line := range commands {
				if err := c.send(line + "\r\n"); err != nil {
					t.Fatal(err)
				}
				want := "250 "
				if i == len(commands)-1 {
					want = fmt.Sprintf("%d %d.%d.%d %s", reply.Code, reply.EnhancedCode[0], reply.EnhancedCode[1], reply.EnhancedCode[2], reply.Message)
				}
				if got, err := c.line(); err != nil || !strings.HasPrefix(got, want) {
					t.Errorf("%s: %q, %v by SMTP, %q by the other", line, got, err, want)
				}
			}
			c.close()
			if len(b.refusals) != len(other.refusals) || len(b.refusals) > 0 && (b.refusals[0].Verb != other.refusals[0].Verb || b.refusals[0].Reason != other.refusals[0].Reason) {
				t.Errorf("the session heard %+v by SMTP, and %+v by the other", other.refusals, b.refusals)
			}
		})
	}
}

// What is sound is stored as it came; SMTPUTF8 is there where an address needs it.
func TestInject(t *testing.T) {
	b := newBackend().with(func(s *Settings) { s.Priority = 3 })
	const text = "From: x\r\n\r\n.\r\n..\r\nend"
	e := &Envelope{Sender: "", Recipients: []string{"Postmaster", "ré@example.net"}, EnvelopeID: "a b=+", Return: "hdrs", Notify: "success,FAILURE", Priority: "9"}
	reply, err := inject(b, e, text)
	if err != nil || reply.Text != "Ok: queued as ID" || len(b.messages) != 1 || b.messages[0] != text || b.open != 0 {
		t.Fatalf("%+v, %v, %q, %d open", reply, err, b.messages, b.open)
	}
	if o := b.options[0]; !o.UTF8 || o.EnvelopeID != "a b=+" || o.Return != smtp.DSNReturnHeaders || o.Priority != 3 {
		t.Errorf("%+v", o)
	}
	if o := b.rcptOpts[1]; len(o.Notify) != 2 {
		t.Errorf("%+v", o)
	}
	b.with(func(s *Settings) { s.NormalizeNewlines = true })
	if _, err := inject(b, e, "a\nb\r"); err != nil || b.messages[1] != "a\r\nb\r\n" {
		t.Errorf("%v, %q", err, b.messages)
	}
	b.with(func(s *Settings) { s.MessageSize = 10 })
	if _, err := inject(b, e, "0123456789\r\n"); !errors.Is(err, errTooLarge) || b.open != 0 {
		t.Error(err)
	}
}

// A message that trickles is given up.
func TestInjectSlowly(t *testing.T) {
	b := newBackend()
	i, err := Inject(context.Background(), &session{b: b}, b.Settings(), &Envelope{Sender: "a@example.org", Recipients: []string{"b@example.net"}})
	if err != nil {
		t.Fatal(err)
	}
	now := i.began
	i.now = func() time.Time { return now }
	now = now.Add(30 * time.Second)
	if _, err := i.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	now = now.Add(31 * time.Second)
	if _, err := i.Write([]byte("x")); err != errSlow || b.open != 0 {
		t.Error(err, b.open)
	}
	if _, err := i.Commit(context.Background()); err == nil {
		t.Error("it is committed all the same")
	}
}

// Where there is no room for a message, its transaction ends all the same, as it does by SMTP.
func TestInjectBeginFails(t *testing.T) {
	b := newBackend()
	b.beginErr = errors.New("the configuration has gone")
	_, err := inject(b, &Envelope{Sender: "alice@example.org", Recipients: []string{"bob@example.net"}}, "x\r\n")
	if !errors.Is(err, b.beginErr) || b.open != 0 {
		t.Errorf("%v, %d open, calls %q", err, b.open, b.calls)
	}
}
