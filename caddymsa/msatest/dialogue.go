package msatest

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A dialogue file is a test and a page of documentation at once. Its lines:
//
//	# comment
//	TLS                  the client's handshake: first of all for implicit TLS, later after STARTTLS
//	S: 250 2.1.0 Ok      the server says this line; * stands for anything, ... at the
//	                     end of a multi-line reply's first line for the rest of that reply
//	C: EHLO client.test  the client says this line
//	C> MAIL ...\r\n...   the client sends these octets, written as in a Go string, and no line end
//	S> octets            the server sends these octets
//	CLOSED               the server has closed the connection and said nothing more
//	HANGUP               the client closes the connection
//
// In C lines {b64:text} is the text in base64, with \0 for NUL; {repeat:N:text} is
// the text N times.

// Dialogue runs the dialogue in a file against the server at addr. config is the
// client's for TLS.
func Dialogue(t *testing.T, file, addr string, config *tls.Config) {
	t.Helper()
	script, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	d := &dialogue{nc: nc, r: bufio.NewReader(nc), tls: config}
	defer func() { d.nc.Close() }()
	for i, line := range strings.Split(string(script), "\n") {
		if err := d.step(strings.TrimRight(line, "\r")); err != nil {
			t.Fatalf("%s:%d: %s\n%v", file, i+1, line, err)
		}
	}
}

// dialogueTimeout bounds each step, so that a server that says nothing fails the test.
const dialogueTimeout = time.Minute

type dialogue struct {
	nc  net.Conn
	r   *bufio.Reader
	tls *tls.Config
}

func (d *dialogue) step(line string) error {
	_ = d.nc.SetDeadline(time.Now().Add(dialogueTimeout))
	switch {
	case line == "" || line[0] == '#':
		return nil
	case line == "TLS":
		return d.handshake()
	case line == "CLOSED":
		return d.closed()
	case line == "HANGUP":
		return d.nc.Close()
	case strings.HasPrefix(line, "C: ") || line == "C:":
		_, err := io.WriteString(d.nc, expand(strings.TrimPrefix(line[2:], " "))+"\r\n")
		return err
	case strings.HasPrefix(line, "C> "):
		octets, err := unquote(line[3:])
		if err != nil {
			return err
		}
		_, err = io.WriteString(d.nc, octets)
		return err
	case strings.HasPrefix(line, "S: "):
		return d.expect(line[3:])
	case strings.HasPrefix(line, "S> "):
		return d.expectOctets(line[3:])
	}
	return errors.New("is not a dialogue line")
}

func (d *dialogue) handshake() error {
	if n := d.r.Buffered(); n > 0 {
		return fmt.Errorf("the server said %d octets more than expected before the handshake", n)
	}
	conn := tls.Client(d.nc, d.tls)
	if err := conn.Handshake(); err != nil {
		return err
	}
	d.nc, d.r = conn, bufio.NewReader(conn)
	return nil
}

func (d *dialogue) closed() error {
	rest, err := io.ReadAll(d.r)
	if len(rest) > 0 {
		return fmt.Errorf("the server said more: %q", rest)
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return errors.New("the connection is still open")
	}
	return nil // EOF, or a reset where the server had unread octets
}

func (d *dialogue) expect(pattern string) error {
	pattern, whole := strings.CutSuffix(pattern, "...")
	got, err := d.line()
	if err != nil {
		return err
	}
	if whole {
		pattern += "*"
	}
	if !match(pattern, got) {
		return fmt.Errorf("the server said: %s", got)
	}
	for whole && len(got) > 3 && got[3] == '-' {
		if got, err = d.line(); err != nil {
			return err
		}
	}
	return nil
}

func (d *dialogue) line() (string, error) {
	line, err := d.r.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("the server said %q and then: %w", line, err)
	}
	text, ok := strings.CutSuffix(line, "\r\n")
	if !ok {
		return "", fmt.Errorf("the line does not end in CRLF: %q", line)
	}
	return text, nil
}

func (d *dialogue) expectOctets(quoted string) error {
	want, err := unquote(quoted)
	if err != nil {
		return err
	}
	got := make([]byte, len(want))
	n, err := io.ReadFull(d.r, got)
	if err != nil || !bytes.Equal(got, []byte(want)) {
		return fmt.Errorf("the server sent %q: %v", got[:n], err)
	}
	return nil
}

// match compares with a pattern in which * stands for any text.
func match(pattern, s string) bool {
	parts := strings.Split(pattern, "*")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	return regexp.MustCompile("^(?s)" + strings.Join(parts, ".*") + "$").MatchString(s)
}

func unquote(s string) (string, error) { return strconv.Unquote(`"` + expand(s) + `"`) }

var macro = regexp.MustCompile(`\{(b64|repeat:\d+):([^}]*)\}`)

func expand(s string) string {
	return macro.ReplaceAllStringFunc(s, func(m string) string {
		parts := macro.FindStringSubmatch(m)
		if parts[1] == "b64" {
			return base64.StdEncoding.EncodeToString([]byte(strings.ReplaceAll(parts[2], `\0`, "\x00")))
		}
		n, _ := strconv.Atoi(strings.TrimPrefix(parts[1], "repeat:"))
		return strings.Repeat(parts[2], n)
	})
}
