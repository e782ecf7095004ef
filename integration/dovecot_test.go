package integration

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// what the real server delivered is fetched by POP3 and IMAP from Dovecot, octet for
// octet: as in the file, and below the trace fields as it was submitted.
func TestDovecotServes(t *testing.T) {
	t.Parallel()
	need(t, "dovecot-pop3d")
	need(t, "dovecot-imapd")
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
	var n int
	if _, err := fmt.Sscanf(c.say("c STATUS INBOX (MESSAGES)", "* STATUS", false), "* STATUS INBOX (MESSAGES %d)", &n); err != nil {
		t.Fatal(err)
	}
	c.say("", "c OK", true)
	for i := range n {
		head := c.say(fmt.Sprintf("d FETCH %d BODY.PEEK[]", i+1), fmt.Sprintf("* %d FETCH", i+1), false)
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
		c.say("", "d OK", true)
	}
	c.say("e LOGOUT", "e OK", true)
	return messages
}
