package smtpd

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// collector is where a dot reader writes to.
type collector struct{ bytes.Buffer }

func (c *collector) write(p []byte) { c.Write(p) }

// slowDots is what RFC 5321 section 4.5.2 says, octet by octet: the message and what follows it.
func slowDots(s string) (text, rest string, ended bool) {
	var b strings.Builder
	lineStart := true
	for i := 0; i < len(s); i++ {
		if lineStart && strings.HasPrefix(s[i:], ".\r\n") {
			return b.String(), s[i+3:], true
		}
		if !lineStart || s[i] != '.' {
			b.WriteByte(s[i])
		}
		lineStart = strings.HasSuffix(s[:i+1], "\r\n")
	}
	return b.String(), "", false
}

var bodySeeds = []string{
	".\r\n", "a\r\n.\r\nNOOP\r\n", "..\r\n.\r\n", "x\r\r\n.\r\n", ".\rX\r\n.\r\n", "x\n.\n", "x\n.\r\n.\r\n", "\r\n.\r", "\r\n.\r\r\n.\r\n", "...\r\n..\r\n.\r\n",
	".\n.\r\n", "\r.\r\n.\r\n", "\r\n\r\n.\r\n", "a\x00b\r\n.\r\n", "\n\r\n.\r\n", ".\r\r\n.\r\n", "\x00\r\n.\r\n.\r\n",
}

// docs/dev/smtp.md section 2, 16 and 17: split at every offset, in pieces of every size.
func TestDotReaderSplits(t *testing.T) {
	for _, s := range bodySeeds {
		for i := range len(s) + 1 {
			checkDots(t, s, []byte{byte(i), 0})
			checkDots(t, s, []byte{byte(i), 1})
			checkDots(t, s, []byte{byte(i)})
		}
	}
}

func checkDots(t *testing.T, s string, pieces []byte) {
	t.Helper()
	want, rest, ended := slowDots(s)
	in, d, got := reader([]byte(s), pieces), dotReader{lineStart: true}, new(collector)
	for {
		if in.buffered() == 0 || d.needsMore {
			if in.fill() != nil {
				break
			}
		}
		if d.read(in, got) {
			left, _ := in.rest()
			if !ended || got.String() != want || left != rest {
				t.Fatalf("%q in pieces of %v: got %q and %q left, want %q and %q", s, pieces, got, left, want, rest)
			}
			return
		}
	}
	if ended || !strings.HasPrefix(want, got.String()) {
		t.Fatalf("%q in pieces of %v: got %q and no end, want %q", s, pieces, got, want)
	}
}

// rest is all that has not been read.
func (in *input) rest() (string, error) {
	var b strings.Builder
	for {
		p, err := in.take(1 << 20)
		if err != nil {
			return b.String(), err
		}
		b.Write(p)
	}
}

func FuzzDotReader(f *testing.F) {
	for _, s := range bodySeeds {
		f.Add([]byte(s), []byte{1, 3, 0})
	}
	f.Fuzz(func(t *testing.T, s, pieces []byte) { checkDots(t, string(s), pieces) })
}

// slowNewlines is the rule, seen all at once.
func slowNewlines(s string) (sound bool, normal string) {
	plain := strings.ReplaceAll(s, "\r\n", "")
	sound = !strings.ContainsAny(plain, "\r\n\x00")
	normal = strings.ReplaceAll(s, "\x00", "")
	normal = strings.ReplaceAll(strings.ReplaceAll(normal, "\r\n", "\n"), "\r", "\n")
	return sound, strings.ReplaceAll(normal, "\n", "\r\n")
}

func FuzzNewlines(f *testing.F) {
	for _, s := range bodySeeds {
		f.Add([]byte(s), []byte{1, 3})
	}
	f.Fuzz(func(t *testing.T, s, pieces []byte) {
		sound, normal := slowNewlines(string(s))
		for _, normalize := range []bool{false, true} {
			n, got := newlines{normalize: normalize}, new(bytes.Buffer)
			err := feed(&n, s, pieces, got)
			switch {
			case normalize && (err != nil || got.String() != normal):
				t.Fatalf("%q in pieces of %v: %q, %v; want %q", s, pieces, got, err, normal)
			case !normalize && sound != (err == nil), !normalize && sound && got.String() != string(s):
				t.Fatalf("%q in pieces of %v: %q, %v", s, pieces, got, err)
			}
		}
	})
}

func feed(n *newlines, s, pieces []byte, to *bytes.Buffer) error {
	nc := &memConn{in: s, pieces: pieces}
	buf := make([]byte, 256)
	for {
		k, err := nc.Read(buf)
		if err != nil {
			break
		}
		p, err := n.check(buf[:k])
		if err != nil {
			return err
		}
		to.Write(p)
	}
	p, err := n.end()
	to.Write(p)
	return err
}

// slowLines is what each call of line is to return, for a limit of 10 and lines below 64 KiB.
func slowLines(s string) (lines []string) {
	for s != "" {
		line, rest, ok := strings.Cut(s, "\r\n")
		if !ok && !strings.Contains(s, "\n") {
			return lines
		}
		tail := line
		for {
			part, after, lf := strings.Cut(tail, "\n")
			if !lf {
				break
			}
			if len(part) > 10 {
				lines = append(lines, string(errLineTooLong))
			} else {
				lines = append(lines, string(errBareLF))
			}
			tail = after
		}
		switch {
		case !ok:
		case len(tail) > 10:
			lines = append(lines, string(errLineTooLong))
		case tail != line: // the end of what a bare LF began
		case strings.ContainsAny(line, "\r\x00"):
			lines = append(lines, string(errControl))
		default:
			lines = append(lines, "="+line)
		}
		s = rest
	}
	return lines
}

func FuzzCommandLine(f *testing.F) {
	for _, s := range []string{"NOOP\r\n", "a\nb\r\nc\r\n", "0123456789\r\n01234567890\r\n", "0123456789012\nx\r\nc\r\n", "a\rb\r\n\r\r\n\r\n", "\n\n\r\n", "a\n\r\nb\r\n", "a\x00\r\n", "012345678901\r\n"} {
		f.Add([]byte(s), []byte{1, 3, 0})
		f.Add([]byte(s), []byte{0})
	}
	f.Fuzz(func(t *testing.T, s, pieces []byte) {
		if len(s) > 1000 {
			return
		}
		want := slowLines(string(s))
		in := reader(s, pieces)
		for i := 0; ; i++ {
			line, err := in.line(10)
			got := "=" + string(line)
			if unfit, ok := err.(lineError); ok {
				got = string(unfit)
			} else if err != nil {
				if i != len(want) {
					t.Fatalf("%q in pieces of %v: ended after %d lines, want %q", s, pieces, i, want)
				}
				return
			}
			if i >= len(want) || got != want[i] {
				t.Fatalf("%q in pieces of %v: line %d is %q, want %q", s, pieces, i, got, want)
			}
		}
	})
}

// A session says the same however its octets come.
func TestSessionSplits(t *testing.T) {
	for at := atClear; at <= atReady; at++ {
		var said string
		for size := range 40 {
			nc := &memConn{in: []byte(envelope + "NOOP\nRSET\r\n" + strings.Join(verbSeeds[:2], "") + strings.Join(verbSeeds[3:], "")), pieces: []byte{byte(size)}}
			serveMem(newBackend(), at, nc)
			got := nc.out.String()
			if said == "" {
				said = got
			} else if got != said {
				t.Fatalf("in pieces of %d:\n%s\nnot\n%s", size, got, said)
			}
		}
	}
}

// FuzzBDAT splits a message into chunks and hides them behind one another.
func FuzzBDAT(f *testing.F) {
	f.Add([]byte("a: b\r\n\r\nc\r\n.\r\nQUIT\r\n"), []byte{1, 2, 3}, []byte{7})
	f.Add([]byte("BDAT 1\r\n"), []byte{0, 0, 9}, []byte{1})
	f.Add([]byte("a\nb\rc\x00"), []byte{2}, []byte{0})
	f.Add([]byte(""), []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, text, chunks, pieces []byte) {
		var wire bytes.Buffer
		rest := text
		for _, n := range chunks {
			k := min(int(n), len(rest))
			fmt.Fprintf(&wire, "BDAT %d\r\n%s", k, rest[:k])
			rest = rest[k:]
		}
		fmt.Fprintf(&wire, "BDAT %d LAST\r\n%sNOOP\r\nQUIT\r\n", len(rest), rest)
		b := newBackend()
		nc := &memConn{in: []byte(envelope + wire.String()), pieces: pieces}
		end := serveMem(b, atReady, nc)
		sound, _ := slowNewlines(string(text))
		if sound != (len(b.messages) == 1) || sound && b.messages[0] != string(text) || b.open != 0 {
			t.Fatalf("%q: stored %q, %d open\n%s", text, b.messages, b.open, &nc.out)
		}
		if end.Reason != EndQuit || !bytes.HasSuffix(nc.out.Bytes(), []byte("\r\n250 2.0.0 Ok\r\n221 2.0.0 Bye\r\n")) {
			t.Fatalf("%q: %+v\n%s", text, end, &nc.out)
		}
	})
}

const envelope = "MAIL FROM:<alice@example.org>\r\nRCPT TO:<bob@example.net>\r\n"

var verbSeeds = []string{
	"EHLO c\r\n", "HELO c\r\n", "STARTTLS\r\n", "AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n", "AUTH CHAT\r\neWVz\r\neWVz\r\n", "AUTH LAST eWVz\r\n\r\n", "AUTH PLAIN\r\n*\r\n",
	"MAIL FROM:<a@example.org> SIZE=1 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=x AUTH=<>\r\n", "RCPT TO:<b@example.net> NOTIFY=NEVER ORCPT=rfc822;b\r\n",
	"DATA\r\n", "x\r\n.\r\n", "BDAT 3\r\nabc", "BDAT 0 LAST\r\n", "BDAT 3 LAST\r\na\n", "RSET\r\n", "NOOP x\r\n", "VRFY x\r\n", "EXPN x\r\n", "HELP\r\n", "ETRN x\r\n",
	"XYZZY\r\n", "\r\n", "NOOP\nRSET\r\n", "BDAT x\r\n", "\x16\x03\x01\r\n", "QUIT\r\n", "MAIL FROM:<\"a@b\"@example.org>\r\n", "RCPT TO:<Postmaster>\r\n",
}

var replyLine = regexp.MustCompile(`^[2-5][0-9][0-9][ -][\x20-\x7e]*$`)

// FuzzSession runs octets against every state. Whatever they are, the session ends, leaves nothing
// open, and every line of its answers is one.
func FuzzSession(f *testing.F) {
	for at := atClear; at <= atReady; at++ {
		for _, verb := range verbSeeds {
			f.Add([]byte(verb), []byte{0}, byte(at))
			f.Add([]byte(envelope+verb), []byte{1}, byte(at))
			f.Add([]byte(envelope+"DATA\r\n"+verb), []byte{5, 0}, byte(at))
			f.Add([]byte(envelope+"BDAT 2\r\nab"+verb+"RSET\r\n"), []byte{7}, byte(at))
			f.Add([]byte("AUTH CHAT\r\n"+verb), []byte{0}, byte(at))
		}
		f.Add([]byte(strings.Join(verbSeeds, "")), []byte{0}, byte(at))
	}
	f.Fuzz(func(t *testing.T, octets, pieces []byte, at byte) {
		b := newBackend().with(func(s *Settings) { s.MessageSize = 100; s.Recipients = 3 })
		nc := &memConn{in: octets, pieces: pieces}
		end := serveMem(b, stage(at%4), nc)
		if end.Panic != "" || end.Reason == "" || len(b.ends) != 1 || b.open != 0 {
			t.Fatalf("%q: ended as %+v, %d times, %d open", octets, end, len(b.ends), b.open)
		}
		out, whole := strings.CutSuffix(nc.out.String(), "\r\n")
		for _, line := range strings.Split(out, "\r\n") {
			if !whole || !replyLine.MatchString(line) {
				if i := strings.Index(out, "Ready to start TLS"); i >= 0 {
					break // an alert of TLS's
				}
				t.Fatalf("%q: said %q", octets, out)
			}
		}
		for _, m := range b.messages {
			if sound, _ := slowNewlines(m); !sound || len(m) > 100 {
				t.Fatalf("%q: stored %q", octets, m)
			}
		}
	})
}
