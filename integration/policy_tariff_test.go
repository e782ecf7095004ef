package integration

import (
	"path/filepath"
	"strings"
	"testing"
)

// The directory says how much each user may submit, and a route takes those of one plan; an open server has another
// tariff as soon as the file has.
func TestTariff(t *testing.T) {
	t.Parallel()
	l := layout{auth: "auth {\n\t\tfile $DIR/users.passwd\n\t\tthrottle off\n\t}", msa: `
	policy rate_limit {
		messages {msa.identity.attributes.per_hour} 1
		window   1h
		name     tariff
		per_message {
			recipients {msa.identity.attributes.rcpts} 1
		}
	}
	@gold attribute plan gold
	deliver @gold maildir $DIR/gold/{msa.identity.attributes.org}/{msa.recipient.local}
	deliver maildir $DIR/mail/{msa.recipient.domain}/{msa.recipient.local}`}
	s := newServer(t)
	s.write("users.passwd", "alice@example.org:{PLAIN}secret::::::attr_per_hour=2 attr_rcpts=2 attr_plan=gold attr_org=acme\nbob@example.org:{PLAIN}secret\n")
	s.write("Caddyfile", s.caddyfile(l))
	s.run()
	trust := s.tlsConfig()
	for range 2 {
		s.mustSend(trust, "alice@example.org", "alice@example.org", "carol@example.org", letter("tariff"))
	}
	say := func(user string, lines ...string) (reply string) {
		t.Helper()
		c, err := s.as(trust, user)
		if err != nil {
			t.Fatal(err)
		}
		defer c.close()
		for _, line := range lines {
			if err := c.send(line + "\r\n"); err != nil {
				t.Fatal(err)
			}
			if reply, err = c.reply(); err != nil {
				t.Fatal(err)
			}
		}
		return reply
	}
	if got := say("alice@example.org", "MAIL FROM:<alice@example.org>"); got[:3] != "450" {
		t.Error("a third of two an hour:", got)
	}
	if got := say("bob@example.org", "MAIL FROM:<bob@example.org>", "RCPT TO:<a@example.org>", "RCPT TO:<b@example.org>"); got[:3] != "452" {
		t.Error("a second recipient of one:", got)
	}
	await(t, "mail of gold's route", func() bool {
		delivered, _ := filepath.Glob(filepath.Join(s.dir, "gold", "acme", "carol", "new", "*"))
		return len(delivered) == 2
	})
}

// What a user may do is what the directory says: an organisation's route and Maildir, mail to the outside, and sending at all. Who may not
// hears so at the moment when it is known, for good.
func TestPermissions(t *testing.T) {
	t.Parallel()
	l := layout{auth: "auth {\n\t\tfile $DIR/users.passwd\n\t\tthrottle off\n\t}", msa: `
	@readers attribute may read
	policy @readers expression require "'may' in attributes && attributes['may'].split(',').exists(m, m == 'send')" {
		name may
		text "Your account may not send"
	}
	@outside expression "!recipient.lowerAscii().endsWith('@example.org')"
	policy @outside expression require "'may' in attributes && attributes['may'].split(',').exists(m, m == 'outside')" {
		name outside
		text "Your account may not send to the outside"
	}
	policy size {msa.identity.attributes.size} 10MiB
	policy rate_limit {
		messages {msa.identity.attributes.per_hour} 100
		window   1h
	}
	@partner recipient_domain partner.example
	@gold {
		attribute plan gold
		recipient_domain partner.example
	}
	deliver @gold discard
	deliver @partner maildir $DIR/partner/{msa.identity.attributes.org}/{msa.recipient.local}
	@known recipient_domain example.org example.net
	deliver @known discard`}
	s := newServer(t)
	s.write("users.passwd", `alice@example.org:{PLAIN}secret::::::attr_may=send,outside attr_plan=gold
bob@example.org:{PLAIN}secret::::::attr_may=read
carol@example.org:{PLAIN}secret::::::attr_may=read,send attr_org=acme
dave@example.org:{PLAIN}secret::::::attr_may=send,outside
erin@example.org:{PLAIN}secret::::::attr_may=send attr_size=0
frank@example.org:{PLAIN}secret::::::attr_may=send attr_per_hour=0
`)
	s.write("Caddyfile", s.caddyfile(l))
	s.run()
	for _, tt := range []struct{ user, to, mail, rcpt string }{
		{"alice", "x@partner.example", "250 ", "250 "},
		{"alice", "x@example.net", "250 ", "250 "},
		{"alice", "x@elsewhere.example", "250 ", "550 5.7.1 Recipient is not served here"},
		{"bob", "", "550 5.7.1 Your account may not send (expression: may)", ""},
		{"carol", "x@example.org", "250 ", "250 "},
		{"carol", "x@example.net", "250 ", "550 5.7.1 Your account may not send to the outside (expression: outside)"},
		{"dave", "x@partner.example", "250 ", "550 5.7.1 Not allowed: your account has no mailboxes here"},
		{"erin", "", "550 5.7.1 No messages are allowed (size: max)", ""},
		{"frank", "", "550 5.7.1 No messages are allowed (rate_limit: messages)", ""},
	} {
		c, err := s.as(s.tlsConfig(), tt.user+"@example.org")
		if err != nil {
			t.Fatal(err)
		}
		if got := say(t, c, "MAIL FROM:<"+tt.user+"@example.org>"); !strings.HasPrefix(got, tt.mail) {
			t.Errorf("%s: %s, want %s", tt.user, got, tt.mail)
		}
		if tt.to != "" {
			if got := say(t, c, "RCPT TO:<"+tt.to+">"); !strings.HasPrefix(got, tt.rcpt) {
				t.Errorf("%s to %s: %s, want %s", tt.user, tt.to, got, tt.rcpt)
			}
		}
		c.close()
	}
}

func say(t *testing.T, c *talker, line string) (reply string) {
	t.Helper()
	err := c.send(line + "\r\n")
	if err == nil {
		reply, err = c.reply()
	}
	if err != nil {
		t.Fatal(err)
	}
	return reply
}
