package sinkmaildir

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
)

// Dovecot serves what was delivered, over POP3 and IMAP, octet for
// octet.
func TestDovecot(t *testing.T) {
	binary := installed.Need(t, "dovecot-imapd")
	installed.Need(t, "dovecot-pop3d")
	// Sockets below it: t.TempDir may be too long a name for these.
	dir, err := os.MkdirTemp("", "msa")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // Dovecot's own users pass through
		t.Fatal(err)
	}
	sink := newSink(t, dir+"/mail/{msa.recipient.domain}/{msa.recipient.local}/Maildir")
	line := strings.Repeat("\xe4\x80 0123456789", 8) + "\r\n"
	var want [][]byte
	for _, m := range []string{
		"Subject: simple\r\n\r\nHello.\r\n",
		"Subject: dots\r\n\r\n.\r\n..\r\n.x\r\nFrom me\r\n",
		"Subject: header only\r\n\r\n",
		"Subject: no last line\r\n\r\nend",
		"Subject: large\r\n\r\n" + strings.Repeat(line, 3<<20/len(line)),
	} {
		d := msatest.NewDelivery([]byte(m), "bob@Example.ORG")
		if err := sink.Deliver(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		want = append(want, []byte("Return-Path: <alice@example.org>\r\n"+m))
	}
	pop3, imap := startDovecot(t, binary, dir)
	for name, have := range map[string][][]byte{
		"POP3": overPOP3(t, pop3, len(want)), "IMAP": overIMAP(t, imap, len(want)),
	} {
		for _, w := range want {
			found := 0
			for _, h := range have {
				// POP3 ends its last line if the message does not.
				if bytes.Equal(h, w) || name == "POP3" && bytes.Equal(h, append(w[:len(w):len(w)], "\r\n"...)) {
					found++
				}
			}
			if found != 1 {
				t.Errorf("%s: %.60q was found %d times", name, w, found)
			}
		}
	}
}

const dovecotConfig = `
base_dir = %[1]s/run
state_dir = %[1]s/run
log_path = /dev/stderr
protocols = imap pop3
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
default_internal_user = %[2]s
default_internal_group = %[3]s
default_login_user = %[4]s
first_valid_uid = 1
first_valid_gid = 1
mail_location = maildir:%[1]s/mail/%%d/%%n/Maildir
pop3_uidl_format = %%f
passdb {
  driver = static
  args = password=secret
}
userdb {
  driver = static
  args = uid=%[5]d gid=%[6]d home=%[1]s
}
service imap-login {
  chroot =
  inet_listener imap {
    port = %[7]d
  }
  inet_listener imaps {
    port = 0
  }
}
service pop3-login {
  chroot =
  inet_listener pop3 {
    port = %[8]d
  }
  inet_listener pop3s {
    port = 0
  }
}
service anvil {
  chroot =
}
`

// startDovecot serves the Maildirs below dir/mail, which it gives to the user
// who may read them, and returns the addresses of POP3 and IMAP.
func startDovecot(t *testing.T, binary, dir string) (pop3, imap string) {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	group, err := user.LookupGroupId(me.Gid)
	if err != nil {
		t.Fatal(err)
	}
	uid, gid := os.Getuid(), os.Getgid()
	internal, internalGroup, login := me.Username, group.Name, me.Username
	if uid == 0 { // Dovecot wants others for its work, and reads no mail as root
		internal, internalGroup, login = "dovecot", "dovecot", "dovenull"
		mail, err := user.Lookup("mail")
		if err != nil {
			t.Fatal(err)
		}
		uid, _ = strconv.Atoi(mail.Uid)
		gid, _ = strconv.Atoi(mail.Gid)
		if err := filepath.WalkDir(dir+"/mail", func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(path, uid, gid)
		}); err != nil {
			t.Fatal(err)
		}
	}
	imapPort, pop3Port := installed.FreePort(t), installed.FreePort(t)
	config := dir + "/dovecot.conf"
	text := fmt.Sprintf(dovecotConfig, dir, internal, internalGroup, login, uid, gid, imapPort, pop3Port)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil { //nolint:gosec // no secret
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command(binary, "-F", "-c", config)
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("Dovecot said:\n%s", &log)
		}
	})
	return fmt.Sprintf("127.0.0.1:%d", pop3Port), fmt.Sprintf("127.0.0.1:%d", imapPort)
}

// dialogue is a client, as plain as can be.
type dialogue struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

// connect waits until there is a server that greets.
func connect(t *testing.T, addr string) *dialogue {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err == nil {
			_ = c.SetDeadline(time.Now().Add(2 * time.Minute))
			t.Cleanup(func() { _ = c.Close() })
			return &dialogue{t, c, bufio.NewReader(c)}
		}
		select {
		case <-ctx.Done():
			t.Fatal(err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (d *dialogue) line() string {
	d.t.Helper()
	line, err := d.r.ReadString('\n')
	if err != nil {
		d.t.Fatal(err)
	}
	return strings.TrimSuffix(line, "\r\n")
}

// say sends a line and reads until one that begins with the prefix.
func (d *dialogue) say(line, until string) string {
	d.t.Helper()
	if line != "" {
		if _, err := io.WriteString(d, line+"\r\n"); err != nil {
			d.t.Fatal(err)
		}
	}
	for {
		switch got := d.line(); {
		case strings.HasPrefix(got, until):
			return got
		case strings.HasPrefix(got, "-ERR"), strings.Contains(got, " NO "), strings.Contains(got, " BAD "):
			d.t.Fatalf("%q: %s", line, got)
		}
	}
}

func overPOP3(t *testing.T, addr string, n int) (messages [][]byte) {
	d := connect(t, addr)
	d.say("", "+OK")
	d.say("USER bob@example.org", "+OK")
	d.say("PASS secret", "+OK")
	if stat := d.say("STAT", "+OK"); !strings.HasPrefix(stat, fmt.Sprintf("+OK %d ", n)) {
		t.Errorf("STAT: %s", stat)
	}
	for i := range n {
		d.say(fmt.Sprintf("RETR %d", i+1), "+OK")
		var m []byte
		for line := d.line(); line != "."; line = d.line() {
			m = append(append(m, strings.TrimPrefix(line, ".")...), "\r\n"...)
		}
		messages = append(messages, m)
	}
	d.say("QUIT", "+OK")
	return messages
}

func overIMAP(t *testing.T, addr string, n int) (messages [][]byte) {
	d := connect(t, addr)
	d.say("", "* OK")
	d.say("a LOGIN bob@example.org secret", "a OK")
	d.say("b SELECT INBOX", "b OK")
	for i := range n {
		head := d.say(fmt.Sprintf("c FETCH %d BODY.PEEK[]", i+1), "* "+strconv.Itoa(i+1)+" FETCH")
		_, size, _ := strings.Cut(head, "{")
		octets, err := strconv.Atoi(strings.TrimSuffix(size, "}"))
		if err != nil {
			t.Fatalf("FETCH: %s", head)
		}
		m := make([]byte, octets)
		if _, err := io.ReadFull(d.r, m); err != nil {
			t.Fatal(err)
		}
		d.say("", "c OK")
		messages = append(messages, m)
	}
	d.say("d LOGOUT", "d OK")
	return messages
}
