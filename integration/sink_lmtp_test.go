package integration

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
)

const dovecotOfLMTP = `base_dir = $D/run
state_dir = $D/run
log_path = $D/log
protocols = pop3 lmtp
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
first_valid_uid = 1
first_valid_gid = 1
mail_location = maildir:$D/mail/%u
recipient_delimiter = +
lmtp_save_to_detail_mailbox = no
passdb {
  driver = passwd-file
  args = username_format=%u $D/users
}
userdb {
  driver = passwd-file
  args = username_format=%u $D/users
  override_fields = uid=mail gid=mail home=$D/home/%u
}
service pop3-login {
  chroot =
  inet_listener pop3 {
    port = $POP3
  }
  inet_listener pop3s {
    port = 0
  }
}
service lmtp {
  unix_listener $D/socket {
    mode = 0600
  }
}
service anvil {
  chroot =
}
service stats {
  chroot =
}
`

// dovecotLMTP starts a Dovecot with the mailboxes of bob and carol, whose password is secret.
func dovecotLMTP(t *testing.T) (d *daemon, pop3 string) {
	t.Helper()
	needRoot(t)
	need(t, "doveadm")
	need(t, "dovecot-lmtpd")
	pop3 = freeAddress(t)
	d = newDaemon(t, map[string]string{
		"conf":  strings.ReplaceAll(dovecotOfLMTP, "$POP3", port(pop3)),
		"users": "bob@example.net:{PLAIN}secret::::::\ncarol@example.net:{PLAIN}secret::::::\n",
	}, need(t, "dovecot"), "-F", "-c", "$D/conf")
	mail, err := user.Lookup("mail")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"mail", "home"} {
		if err := os.Mkdir(d.dir+"/"+dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("chown", mail.Uid+":"+mail.Gid, d.dir+"/"+dir).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	for _, name := range []string{"conf", "users", "."} {
		if err := os.Chmod(d.dir+"/"+name, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return d.run(), pop3
}

// Dovecot takes messages over LMTP, answers for each recipient, and serves by POP3 what was
// submitted; what it refuses comes back, and stopped and killed within a transaction it loses nothing.
func TestLMTPDovecot(t *testing.T) {
	t.Parallel()
	d, pop3 := dovecotLMTP(t)
	s := start(t, layout{msa: `
	@store recipient_domain example.net
	deliver @store lmtp unix/` + d.socket + ` {
		connect_timeout 10s
		timeout     10s
		end_timeout 10s
	}
	deliver maildir $DIR/mail/{msa.recipient.domain}/{msa.recipient.local}
	queue {
		retry 300ms
		probe 300ms 1s
	}`})
	trust := s.tlsConfig()
	curl := need(t, "curl")
	inbox := func(user string, n int) []byte {
		t.Helper()
		var out []byte
		awaitProbe(t, fmt.Sprintf("message %d of %s", n, user), func() bool {
			var err error
			out, err = exec.Command(curl, "-s", "--max-time", "60", "-u", user+":secret", fmt.Sprintf("pop3://%s/%d", pop3, n)).Output()
			return err == nil && len(out) > 0
		})
		return out
	}
	c, err := s.as(trust, "alice@example.org")
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	octets := "From: alice@example.org\r\nSubject: octets\r\n\r\n..dots\r\n.\xe9\xff\r\n" + strings.Repeat("long ", 150) + "\r\n\r\n"
	err = all(
		func() error { return c.envelope("alice@example.org", "bob@example.net") },
		func() error { return c.do("250", "RCPT TO:<carol+invoices@example.net> NOTIFY=SUCCESS,FAILURE") },
		func() error { return c.do("250", "RCPT TO:<nobody@example.net>") },
	)
	if err == nil {
		_, err = c.data(octets)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range []string{"bob@example.net", "carol@example.net"} {
		if got := inbox(user, 1); !bytes.HasSuffix(got, []byte("\r\n"+octets)) {
			t.Errorf("%s got:\n%q", user, got)
		}
	}
	// One bounce for nobody, one success for carol, whose store is where it ends.
	var bounce, success []byte
	for _, m := range s.mail("alice@example.org", 2) {
		if bytes.Contains(m, []byte("Action: failed")) {
			bounce = m
		} else if bytes.Contains(m, []byte("Action: delivered")) {
			success = m
		}
	}
	if !bytes.Contains(bounce, []byte("Final-Recipient: rfc822; nobody@example.net\r\n")) || !bytes.Contains(bounce, []byte("\r\nStatus: 5.1.1")) || bytes.Contains(bounce, []byte("; bob@")) {
		t.Errorf("bounce:\n%s", bounce)
	}
	if !bytes.Contains(success, []byte("Final-Recipient: rfc822; carol+invoices@example.net\r\n")) {
		t.Errorf("success:\n%s", success)
	}

	tapped := newTap(t, "unix", d.socket)
	s = start(t, layout{msa: `
	deliver lmtp ` + tapped.listener.Addr().String() + ` {
		connect_timeout 10s
		timeout     10s
		end_timeout 10s
	}
	queue {
		retry 300ms
		probe 300ms 1s
	}`})
	s.within(t, tapped, nextHop{
		signal: d.signal, again: func() { d.run() },
		copies: func(subject string) (n int) {
			names, _ := filepath.Glob(d.dir + "/mail/bob@example.net/[nc][eu][wr]/*")
			for _, name := range names {
				if b, _ := os.ReadFile(name); bytes.HasSuffix(b, []byte(strings.ReplaceAll(letter(subject), "\r\n", "\n"))) {
					n++
				}
			}
			return n
		},
	}, "bob@example.net")
}
