package smtpd

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A script's lines: "C: line", "C> octets as in a Go string", "S: reply line" (a * at its end stands
// for any rest), "S: ..." for the rest of a multi-line reply, "TLS" for the client's handshake,
// "EOF" for a connection that the server has closed without another word, "HALF" for the client's
// half close (close_notify within TLS).

// stage is how far a script's session has come before its first line.
type stage int

const (
	atClear   stage = iota // greeted on the STARTTLS port
	atNew                  // implicit TLS, greeted
	atGreeted              // and EHLO
	atReady                // and AUTH
	atMail                 // and MAIL
	atRcpt                 // and RCPT
	atData                 // and DATA
)

var login = "AUTH PLAIN " + b64("\x00alice\x00secret")

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

var stages = []string{
	atClear:   "S: 220 msa.example.test ESMTP\n",
	atNew:     "TLS\nS: 220 msa.example.test ESMTP\n",
	atGreeted: "C: EHLO client.example\nS: 250-msa.example.test\nS: ...\n",
	atReady:   "C: " + login + "\nS: 235 2.7.0 Authentication successful\n",
	atMail:    "C: MAIL FROM:<alice@example.org>\nS: 250 2.1.0 Ok\n",
	atRcpt:    "C: RCPT TO:<bob@example.net>\nS: 250 2.1.5 Ok\n",
	atData:    "C: DATA\nS: 354 End data with <CR><LF>.<CR><LF>\n",
}

// client is one connection to a server on the loopback.
type client struct {
	t    testing.TB
	b    *backend
	conn *Conn
	raw  net.Conn
	nc   net.Conn
	r    *bufio.Reader
	done chan struct{}

	tlsVersion uint16 // the highest; 0: any
}

const patience = time.Minute // for a server that says nothing; no test waits for it

func dial(t testing.TB, b *backend, implicit bool) *client {
	t.Helper()
	server, raw := socketPair(t)
	return attach(t, b, server, raw, implicit, Options{})
}

func attach(t testing.TB, b *backend, server, raw net.Conn, implicit bool, o Options) *client {
	x := &client{t: t, b: b, raw: raw, nc: raw, r: bufio.NewReader(raw), done: make(chan struct{})}
	x.conn = New(server, b, implicit, o)
	go func() {
		defer close(x.done)
		x.conn.Serve()
	}()
	t.Cleanup(x.close)
	return x
}

// close hangs up and waits for the session's end.
func (x *client) close() {
	_ = x.raw.Close()
	<-x.done
	x.b.mu.Lock()
	defer x.b.mu.Unlock()
	if x.b.open != 0 {
		x.t.Errorf("%d transactions were left open", x.b.open)
	}
}

// end is how the session ended, of which the client must have seen the last octet.
func (x *client) end() End {
	x.t.Helper()
	_ = x.raw.Close() // so that nobody lingers
	select {
	case <-x.done:
	case <-time.After(patience):
		x.t.Fatal("the session does not end")
	}
	x.b.mu.Lock()
	defer x.b.mu.Unlock()
	if len(x.b.ends) == 0 {
		return End{}
	}
	return x.b.ends[len(x.b.ends)-1]
}

func socketPair(t testing.TB) (server, client net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if client, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	return server, client
}

// start brings a client to a stage.
func start(t testing.TB, b *backend, at stage) *client {
	t.Helper()
	x := dial(t, b, at > atClear)
	x.advance(at)
	return x
}

func (x *client) advance(at stage) {
	x.t.Helper()
	from := min(at, atNew)
	x.play(strings.Join(stages[from:at+1], ""))
}

// talk runs a script from a stage on and returns the client.
func talk(t testing.TB, b *backend, at stage, script string) *client {
	t.Helper()
	x := start(t, b, at)
	x.play(script)
	return x
}

func (x *client) play(script string) {
	x.t.Helper()
	for _, line := range strings.Split(script, "\n") {
		line = strings.TrimLeft(line, "\t")
		if line == "" {
			continue
		}
		_ = x.raw.SetDeadline(time.Now().Add(patience))
		if err := x.step(line); err != nil {
			x.t.Fatalf("%.200s\n%v", line, err)
		}
	}
}

func (x *client) step(line string) error {
	kind, rest, _ := strings.Cut(line, " ")
	switch kind {
	case "TLS":
		config := clientTLS()
		config.MaxVersion = x.tlsVersion
		conn := tls.Client(x.nc, config)
		x.nc, x.r = conn, bufio.NewReader(conn)
		return conn.Handshake()
	case "C:":
		return x.send(rest + "\r\n")
	case "C>":
		octets, err := strconv.Unquote(`"` + rest + `"`)
		if err != nil {
			return err
		}
		return x.send(octets)
	case "S:":
		if rest == "..." {
			return x.restOfReply()
		}
		got, err := x.line()
		if err != nil {
			return err
		}
		prefix, open := strings.CutSuffix(rest, "*")
		if got != rest && !(open && strings.HasPrefix(got, prefix)) {
			return errors.New("the server said: " + got)
		}
		return nil
	case "EOF":
		got, err := io.ReadAll(x.r)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return errors.New("the connection is still open")
		}
		if len(got) > 0 {
			return errors.New("the server said more: " + string(got))
		}
		return nil
	case "HALF":
		return x.nc.(interface{ CloseWrite() error }).CloseWrite()
	}
	return errors.New("is no script line")
}

func (x *client) send(s string) error {
	_, err := io.WriteString(x.nc, s)
	return err
}

func (x *client) line() (string, error) {
	s, err := x.r.ReadString('\n')
	text, ok := strings.CutSuffix(s, "\r\n")
	if err != nil || !ok {
		return "", errors.New("the server said " + strconv.Quote(s) + " and then: " + errText(err))
	}
	return text, nil
}

func errText(err error) string {
	if err == nil {
		return "no CRLF"
	}
	return err.Error()
}

func (x *client) restOfReply() error {
	for {
		line, err := x.line()
		if err != nil || len(line) > 3 && line[3] == ' ' {
			return err
		}
	}
}

// scenario is one script of a table.
type scenario struct {
	name   string
	at     stage
	script string
}

func runScenarios(t *testing.T, table []scenario) {
	t.Helper()
	for _, sc := range table {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			talk(t, newBackend(), sc.at, sc.script).close()
		})
	}
}
