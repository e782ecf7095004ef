package integration

import (
	"path/filepath"
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
