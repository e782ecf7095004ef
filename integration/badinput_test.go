package integration

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Whatever octets a client sends, in whatever state, it gets replies and is let go; others
// are served all the while, and the log holds no secret and no stack trace.
func TestHostileOctets(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	s := start(t, layout{msa: "limits {\n connections_per_ip 1000\n}"})
	trust := s.tlsConfig()
	states := map[string]func() (*talker, error){
		"before TLS": func() (*talker, error) { return connect("tcp", s.starttls, nil) },
		"in the handshake": func() (*talker, error) {
			c, err := connect("tcp", s.starttls, nil)
			if err == nil {
				err = c.do("220", "STARTTLS")
			}
			return c, err
		},
		"before EHLO": func() (*talker, error) { return connect("tcp", s.implicit, trust) },
		"in AUTH": func() (*talker, error) {
			c, err := connect("tcp", s.implicit, trust)
			if err == nil {
				err = all(
					func() error { return c.do("250", "EHLO client.example.org") },
					func() error { return c.do("334", "AUTH DIGEST-MD5") },
				)
			}
			return c, err
		},
		"authenticated": func() (*talker, error) { return s.alice(trust) },
		"in DATA": func() (*talker, error) {
			c, err := s.alice(trust)
			if err == nil {
				err = all(
					func() error { return c.envelope("alice@example.org", "junk@example.net") },
					func() error { return c.do("354", "DATA") },
				)
			}
			return c, err
		},
		"in BDAT": func() (*talker, error) {
			c, err := s.alice(trust)
			if err == nil {
				err = all(
					func() error { return c.envelope("alice@example.org", "junk@example.net") },
					func() error { return c.send("BDAT 100000\r\n") },
				)
			}
			return c, err
		},
	}
	var clients sync.WaitGroup
	for name, begin := range states {
		clients.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(len(name))))
			for range 8 {
				c, err := begin()
				if err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
				if reply, err := hostile(c, random); err != nil {
					t.Errorf("%s: %v after %q", name, err, reply)
				}
				c.close()
			}
		})
	}
	const good = 10
	for n := range good {
		s.mustSend(trust, "alice@example.org", "alice@example.org", "bob@example.net", letter(strconv.Itoa(n)))
	}
	clients.Wait()
	s.mail("bob@example.net", good)
	log := s.log.String()
	for _, word := range []string{"panic", "goroutine ", ".go:", `"level":"error"`, "hunter2", "AGFsaWNlAGh1bnRlcjI", `"secret`, base64.StdEncoding.EncodeToString([]byte("\x00alice@example.org\x00secret"))} {
		if strings.Contains(log, word) {
			t.Errorf("the log holds %q", word)
		}
	}
}

// hostile writes junk until its end, or the server's, and checks that all that the server
// says are replies. What it says in a handshake are alerts.
func hostile(c *talker, random *rand.Rand) (said string, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		verbs := []string{"EHLO x", "AUTH PLAIN AGFsaWNlAGh1bnRlcjI=", "MAIL FROM:<", "RCPT TO:<a@b>", "BDAT 7", "BDAT -1", "BDAT 99999999999999999999", "DATA", "RSET", "STARTTLS", ".", "*", ""}
		for range 40 {
			octets := make([]byte, random.IntN(300))
			for i := range octets {
				octets[i] = byte(random.UintN(256))
			}
			line := verbs[random.IntN(len(verbs))]
			if random.IntN(3) == 0 {
				line += string(octets)
			}
			if c.send(line+[]string{"\r\n", "\n", "\r", ""}[random.IntN(4)]) != nil {
				return
			}
		}
		if conn, ok := c.nc.(*tls.Conn); ok {
			_ = conn.CloseWrite()
			return
		}
		_ = c.nc.(interface{ CloseWrite() error }).CloseWrite()
	}()
	_ = c.nc.SetReadDeadline(time.Now().Add(patience))
	octets, err := io.ReadAll(c.r)
	_ = c.nc.SetDeadline(time.Now())
	<-done
	if err != nil && os.IsTimeout(err) {
		return string(octets), fmt.Errorf("the session does not end: %w", err)
	}
	if bytes.HasPrefix(octets, []byte{21, 3}) { // a TLS alert
		return "", nil
	}
	for line := range strings.Lines(string(octets)) {
		if len(line) < 5 || !strings.HasSuffix(line, "\r\n") || !strings.ContainsRune("2345", rune(line[0])) || (line[3] != ' ' && line[3] != '-') {
			return string(octets), fmt.Errorf("%q is not a reply", line)
		}
	}
	return string(octets), nil
}

// A users file that does not parse is refused at load, with its line; the old users stay.
func TestBrokenUsersFile(t *testing.T) {
	t.Parallel()
	s := start(t, layout{})
	s.write("broken.passwd", "alice@example.org:{PLAIN}secret\n# a comment\neve@example.org:{NOSUCHSCHEME}hunter2\n")
	status, answer := s.load(s.caddyfile(layout{auth: "auth {\n file $DIR/broken.passwd\n}"}))
	if status != http.StatusBadRequest || !strings.Contains(answer, "line 3") || strings.Contains(answer, "hunter2") {
		t.Errorf("%d %s", status, answer)
	}
	s.mustSend(s.tlsConfig(), "alice@example.org", "alice@example.org", "bob@example.net", letter("still here"))
	s.mail("bob@example.net", 1)
}

// a message of exactly the limit passes; one octet more is refused while it comes, by
// DATA and by BDAT, leaves nothing, and the session goes on.
func TestSizeWhileStreaming(t *testing.T) {
	t.Parallel()
	const limit = 100000
	s := start(t, layout{msa: "limits {\n message_size " + strconv.Itoa(limit) + "\n}"})
	c, err := s.alice(s.tlsConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	message := func(size int) string {
		head := "From: alice@example.org\r\n\r\n"
		return head + strings.Repeat("x", size-len(head)-2) + "\r\n"
	}
	for name, end := range map[string]func(size int) error{
		"DATA": func(size int) error {
			_, err := c.data(message(size))
			return err
		},
		"BDAT": func(size int) error {
			if err := c.send("BDAT 1000\r\n" + message(size)[:1000]); err != nil {
				return err
			}
			if err := c.want("250"); err != nil {
				return err
			}
			if err := c.send(fmt.Sprintf("BDAT %d LAST\r\n%s", size-1000, message(size)[1000:])); err != nil {
				return err
			}
			return c.want("250 2.0.0 Ok: queued")
		},
	} {
		to := strings.ToLower(name) + "@example.net"
		for _, size := range []int{limit + 1, limit} {
			if err := c.envelope("alice@example.org", to); err != nil {
				t.Fatal(name, err)
			}
			switch err := end(size); {
			case size <= limit && err != nil:
				t.Errorf("%s of %d octets: %v", name, size, err)
			case size > limit && (err == nil || !strings.Contains(err.Error(), "552 5.3.4")):
				t.Errorf("%s of %d octets: %v", name, size, err)
			}
		}
		if got := untraced(t, s.mail(to, 1)[0]); string(got) != message(limit) {
			t.Errorf("%s: %d octets were delivered", name, len(got))
		}
		if names, _ := filepath.Glob(filepath.Join(s.dir, "mail/example.net", strings.ToLower(name), "new/*")); len(names) != 1 {
			t.Errorf("%s: %d messages were delivered", name, len(names))
		}
	}
}
