package integration

import (
	"bufio"
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
)

// what the real server delivered is fetched by POP3 and IMAP from Dovecot, octet for
// octet: as in the file, and below the trace fields as it was submitted.
func TestDovecotServes(t *testing.T) {
	for _, module := range []struct{ name, debianPackage string }{{"pop3", "dovecot-pop3d"}, {"imap", "dovecot-imapd"}} {
		if !isFile("/usr/lib/dovecot/" + module.name) {
			lack(t, module.debianPackage)
		}
	}
	// Dovecot's users pass through, and sockets have short names: not t.TempDir.
	dir, err := os.MkdirTemp("", "msa")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // see above
		t.Fatal(err)
	}
	s := start(t, layout{msa: "deliver maildir " + dir + "/mail/{msa.recipient.domain}/{msa.recipient.local}/Maildir"})
	trust := s.tlsConfig()

	line := strings.Repeat("\xe4\x80 0123456789", 8) + "\r\n"
	from := "From: alice@example.org\r\nSubject: "
	submitted := []string{
		octets,
		from + "simple\r\n\r\nHello.\r\n",
		from + "dots\r\n\r\n.\r\n..\r\n.x\r\nFrom me\r\n",
		from + "header only\r\n\r\n",
		from + "no empty line\r\n",
		from + "folded\r\n\tand folded\r\n again \r\n\r\n \r\n\r\n\r\n",
		from + "large\r\n\r\n" + strings.Repeat(line, 3<<20/len(line)),
	}
	for _, message := range submitted {
		s.mustSend(trust, "alice@example.org", "alice@example.org", "bob@example.net", message)
	}
	var files []string
	s.await("delivery", func() bool {
		names, _ := filepath.Glob(dir + "/mail/example.net/bob/Maildir/new/*")
		files = names
		return len(names) == len(submitted)
	})
	delivered := map[string]string{} // by what was submitted
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		delivered[string(untraced(t, b))] = string(b)
	}
	for _, message := range submitted {
		if !strings.HasPrefix(delivered[message], "Return-Path: <alice@example.org>\r\n") {
			t.Errorf("not in the Maildir as it was submitted: %.99q", message)
		}
	}

	d := serveMaildirs(t, dir)
	for name, fetched := range map[string][]string{"POP3": d.overPOP3(t), "IMAP": d.overIMAP(t)} {
		if len(fetched) != len(submitted) {
			t.Errorf("%s: %d messages, want %d", name, len(fetched), len(submitted))
		}
		times := map[string]int{}
		for _, message := range fetched {
			times[message]++
		}
		for _, message := range submitted {
			if n := times[delivered[message]]; n != 1 {
				t.Errorf("%s: %.99q was fetched %d times as it is in the file", name, message, n)
			}
		}
	}
}

const dovecotOfMaildirs = `base_dir = $DIR/run
state_dir = $DIR/run
log_path = /dev/stderr
protocols = imap pop3
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
default_internal_user = $INTERNAL
default_internal_group = $GROUP
default_login_user = $LOGIN
first_valid_uid = 1
first_valid_gid = 1
mail_location = maildir:$DIR/mail/%d/%n/Maildir
pop3_uidl_format = %f
passdb {
  driver = static
  args = password=secret
}
userdb {
  driver = static
  args = uid=$UID gid=$GID home=$DIR
}
service imap-login {
  chroot =
  inet_listener imap {
    port = $IMAP
  }
  inet_listener imaps {
    port = 0
  }
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
service anvil {
  chroot =
}
service stats {
  chroot =
}
`

// maildirs is a Dovecot that serves Maildirs; every password is secret.
type maildirs struct{ pop3, imap string }

// serveMaildirs starts one for those below dir/mail. As root it gives them to the user
// who may read them, for Dovecot reads no mail as root.
func serveMaildirs(t *testing.T, dir string) maildirs {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	group, err := user.LookupGroupId(me.Gid)
	if err != nil {
		t.Fatal(err)
	}
	reader, internal, internalGroup, login := me, me.Username, group.Name, me.Username
	if os.Getuid() == 0 {
		internal, internalGroup, login = "dovecot", "dovecot", "dovenull"
		if reader, err = user.Lookup("mail"); err != nil {
			t.Fatal(err)
		}
		uid, _ := strconv.Atoi(reader.Uid)
		gid, _ := strconv.Atoi(reader.Gid)
		if err := filepath.WalkDir(dir+"/mail", func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(path, uid, gid)
		}); err != nil {
			t.Fatal(err)
		}
	}
	d := maildirs{pop3: freeAddress(t), imap: freeAddress(t)}
	config := strings.NewReplacer("$DIR", dir, "$INTERNAL", internal, "$GROUP", internalGroup, "$LOGIN", login, "$UID", reader.Uid,
		"$GID", reader.Gid, "$IMAP", port(d.imap), "$POP3", port(d.pop3)).Replace(dovecotOfMaildirs)
	if err := os.WriteFile(dir+"/dovecot.conf", []byte(config), 0o644); err != nil { //nolint:gosec // no secret
		t.Fatal(err)
	}
	log := new(logBuffer)
	cmd := exec.Command(need(t, "dovecot", "dovecot-core"), "-F", "-c", dir+"/dovecot.conf")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 5 * time.Second // its children have the log too
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("Dovecot said:\n%s", log)
		}
	})
	return d
}

// mailClient speaks a protocol of lines.
type mailClient struct {
	t *testing.T
	r *bufio.Reader
	w io.Writer
}

func fetchFrom(t *testing.T, address string) *mailClient {
	t.Helper()
	var nc net.Conn
	await(t, "Dovecot", func() bool {
		var err error
		nc, err = net.Dial("tcp", address)
		return err == nil
	})
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(patience))
	return &mailClient{t: t, r: bufio.NewReader(nc), w: nc}
}

// line reads one with its end.
func (c *mailClient) line() string {
	c.t.Helper()
	line, err := c.r.ReadString('\n')
	if err != nil {
		c.t.Fatalf("after %q: %v", line, err)
	}
	return line
}

// say sends a line unless it is empty, and wants the next to begin so; IMAP's untagged ones
// in between may be skipped.
func (c *mailClient) say(line, prefix string, untagged bool) string {
	c.t.Helper()
	if line != "" {
		if _, err := io.WriteString(c.w, line+"\r\n"); err != nil {
			c.t.Fatal(err)
		}
	}
	got := c.line()
	for untagged && strings.HasPrefix(got, "* ") {
		got = c.line()
	}
	if !strings.HasPrefix(got, prefix) {
		c.t.Fatalf("%s: %q, want %s", line, got, prefix)
	}
	return got
}

func (d maildirs) overPOP3(t *testing.T) (messages []string) {
	c := fetchFrom(t, d.pop3)
	c.say("", "+OK", false)
	c.say("USER bob@example.net", "+OK", false)
	c.say("PASS secret", "+OK", false)
	var n, size, total int
	if _, err := fmt.Sscanf(c.say("STAT", "+OK", false), "+OK %d %d", &n, &size); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		c.say(fmt.Sprintf("RETR %d", i+1), "+OK", false)
		var m strings.Builder
		for line := c.line(); line != ".\r\n"; line = c.line() {
			m.WriteString(strings.TrimPrefix(line, "."))
		}
		messages = append(messages, m.String())
		total += m.Len()
	}
	if total != size {
		t.Errorf("STAT promised %d octets, RETR gave %d", size, total)
	}
	c.say("QUIT", "+OK", false)
	return messages
}

func (d maildirs) overIMAP(t *testing.T) (messages []string) {
	c := fetchFrom(t, d.imap)
	c.say("", "* OK", false)
	c.say("a LOGIN bob@example.net secret", "a OK", true)
	c.say("b EXAMINE INBOX", "b OK", true)
	c.say("c UID SEARCH UNSEEN", "* SEARCH", false)
	c.say("", "c OK", true)
	var n int
	if _, err := fmt.Sscanf(c.say("d STATUS INBOX (MESSAGES)", "* STATUS", false), "* STATUS INBOX (MESSAGES %d)", &n); err != nil {
		t.Fatal(err)
	}
	c.say("", "d OK", true)
	for i := range n {
		head := c.say(fmt.Sprintf("e FETCH %d BODY.PEEK[]", i+1), fmt.Sprintf("* %d FETCH", i+1), false)
		var octets int
		if _, size, ok := strings.Cut(head, "{"); !ok {
			t.Fatal(head)
		} else if _, err := fmt.Sscanf(size, "%d}", &octets); err != nil {
			t.Fatal(err)
		}
		m := make([]byte, octets)
		if _, err := io.ReadFull(c.r, m); err != nil {
			t.Fatal(err)
		}
		messages = append(messages, string(m))
		c.say("", ")", false)
		c.say("", "e OK", true)
	}
	c.say("f LOGOUT", "f OK", true)
	return messages
}
