package integration

import (
	"bytes"
	"strings"
	"syscall"
	"testing"
)

// relaying is a layout with a route for each of example.net (Postfix) and
// example.org (a Maildir), and none for other domains.
func relaying(p *postfix) layout {
	return layout{
		users: "alice@example.org:{PLAIN}secret\nghost@example.net:{PLAIN}secret\ncarol@example.com:{PLAIN}secret\n",
		msa: `
	@far recipient_domain example.net
	deliver @far relay ` + p.address + ` {
		server_name ` + postfixName + `
		ca ` + p.certificate() + `
		auth ` + postfixUser + ` {env.RELAY_PASSWORD}
		timeouts {
			connect 10s
			command 10s
			data 10s
			end 10s
		}
	}
	@near recipient_domain example.org
	deliver @near maildir $DIR/mail/{msa.recipient.domain}/{msa.recipient.local}
	queue {
		retry 500ms
		probe 500ms 2s
		workers 1
	}`,
	}
}

// Messages go on to a next hop over STARTTLS and AUTH, unaltered; while it is down or hangs they wait
// and are in nobody's way; what it refuses comes back to the sender.
func TestRelay(t *testing.T) {
	t.Parallel()
	p := startPostfix(t)
	s := start(t, relaying(p))
	trust := s.tlsConfig()
	send := func(from, to, message string) (id string) {
		t.Helper()
		return s.mustSend(trust, from, from, to, message)
	}

	octets := "From: alice@example.org\r\nSubject: octets\r\n\r\n..dots\r\n.\xe9\xff\r\n" + strings.Repeat("long ", 150) + "\r\n\r\n"
	send("alice@example.org", "bob@example.net", octets)
	got := p.mail(1)[0]
	if !bytes.Equal(submitted(got), []byte(octets)) {
		t.Errorf("delivered:\n%q\nsubmitted:\n%q", got, octets)
	}
	if !bytes.Contains(got, []byte("with ESMTPSA id")) || !bytes.HasPrefix(got, []byte("Return-Path: <alice@example.org>\n")) {
		t.Errorf("envelope, TLS or AUTH were not as they should:\n%s", got)
	}

	t.Run("down", func(t *testing.T) {
		p.stop()
		id := send("alice@example.org", "bob@example.net", letter("down"))
		s.logged(id, "delivery deferred")
		p.start()
		p.has(t, "down")
	})

	t.Run("stopped", func(t *testing.T) {
		p.signal(syscall.SIGSTOP)
		id := send("alice@example.org", "bob@example.net", letter("stopped"))
		// The only worker comes free, so what goes elsewhere is delivered meanwhile.
		send("alice@example.org", "near@example.org", letter("meanwhile"))
		s.mail("near@example.org", 1)
		s.logged(id, "delivery deferred")
		p.signal(syscall.SIGCONT)
		p.has(t, "stopped")
	})

	t.Run("refused", func(t *testing.T) {
		id := send("alice@example.org", "nobody@example.net", letter("refused"))
		bounce := s.mail("alice@example.org", 1)[0]
		for _, want := range []string{
			"Return-Path: <>\r\n", "report-type=delivery-status", "Final-Recipient: rfc822;nobody@example.net\r\n", "Action: failed\r\n",
			"Status: 5.1.1\r\n", "Diagnostic-Code: smtp;550 5.1.1", "Subject: refused\r\n",
		} {
			if !bytes.Contains(bytes.ReplaceAll(bounce, []byte("; "), []byte(";")), []byte(want)) {
				t.Errorf("the bounce lacks %q:\n%s", want, bounce)
			}
		}
		if bytes.Contains(bounce, []byte("Hello.")) {
			t.Errorf("the bounce has the body:\n%s", bounce)
		}
		s.logged(id, "sender told of the failure")
	})

	t.Run("refused in part", func(t *testing.T) {
		c, err := s.as(trust, "alice@example.org")
		if err != nil {
			t.Fatal(err)
		}
		defer c.close()
		err = all(
			func() error { return c.envelope("alice@example.org", "nobody@example.net") },
			func() error { return c.do("250", "RCPT TO:<near@example.org>") },
			func() error { return c.do("250", "RCPT TO:<bob@example.net>") },
		)
		if err == nil {
			_, err = c.data(letter("in part"))
		}
		if err != nil {
			t.Fatal(err)
		}
		p.has(t, "in part")
		s.mail("near@example.org", 2)
		s.mail("alice@example.org", 2)
	})

	t.Run("bounce refused", func(t *testing.T) {
		id := send("ghost@example.net", "nobody@example.net", "From: ghost@example.net\r\n\r\nHello.\r\n")
		told := s.logged(id, "sender told of the failure")
		if line := s.logged(bounceOf(told), "failure that nobody is told of"); !strings.Contains(line, "a bounce is not bounced") {
			t.Error(line)
		}
	})

	t.Run("no return path", func(t *testing.T) {
		id := s.mustSend(trust, "alice@example.org", "", "nobody@example.net", letter("from nobody"))
		if line := s.logged(id, "failure that nobody is told of"); !strings.Contains(line, "no return path") {
			t.Error(line)
		}
	})

	t.Run("no route for the bounce", func(t *testing.T) {
		id := send("carol@example.com", "nobody@example.net", "From: carol@example.com\r\n\r\nHello.\r\n")
		told := s.logged(id, "sender told of the failure")
		if line := s.logged(bounceOf(told), "bounce on hold"); !strings.Contains(line, "configure bounces") {
			t.Error(line)
		}
	})

	if strings.Contains(s.log.String(), postfixPass) {
		t.Error("the log holds the relay's password")
	}
	if n := len(s.mail("alice@example.org", 2)); n != 2 {
		t.Errorf("alice got %d bounces", n)
	}
}

// Postfix is stopped and killed within a transaction.
func TestRelayPostfixWithin(t *testing.T) {
	t.Parallel()
	p := startPostfix(t)
	tapped := newTap(t, "tcp", p.clear)
	s := start(t, layout{msa: `
	deliver relay ` + tapped.listener.Addr().String() + ` {
		tls off
		timeouts {
			command 10s
			data    10s
			end     10s
		}
	}
	queue {
		retry 300ms
	}`})
	s.within(t, tapped, nextHop{
		signal: p.signal, again: func() { await(t, "the end of Postfix", func() bool { return p.master() == 0 }); p.start() },
		copies: func(subject string) (n int) {
			for _, m := range p.mail(0) {
				if bytes.Contains(m, []byte("\nSubject: "+subject+"\n")) && bytes.HasSuffix(m, []byte("\nHello.\n")) {
					n++
				}
			}
			return n
		},
	}, "bob@example.net")
}

// bounceOf is the queue id of a bounce, in the line that tells of it.
func bounceOf(line string) string {
	_, id, _ := strings.Cut(line, `"bounce":"`)
	id, _, _ = strings.Cut(id, `"`)
	return id
}

// has waits for a message to bob by its subject.
func (p *postfix) has(t *testing.T, id string) {
	t.Helper()
	await(t, id, func() bool {
		for _, message := range p.mail(0) {
			if bytes.Contains(message, []byte("\nSubject: "+id+"\n")) {
				return true
			}
		}
		return false
	})
}
