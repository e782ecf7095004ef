package smtpd

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/emersion/go-smtp"
)

func newReader(r io.Reader) *bufio.Reader { return bufio.NewReader(r) }

const shutdownScript = "S: 421 4.3.2 Service shutting down, try again later\nEOF"

// 38: idle clients hear 421 at once, whatever they are about; others finish first.
func TestShutdown(t *testing.T) {
	for name, at := range map[string]stage{"in clear": atClear, "before EHLO": atNew, "before AUTH": atGreeted, "ready": atReady} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := start(t, newBackend(), at)
			x.conn.Shutdown()
			x.play(shutdownScript)
			if end := x.end(); end.Reason != EndShutdown {
				t.Errorf("ended as %+v", end)
			}
		})
	}
	t.Run("in AUTH", func(t *testing.T) { // which loses nothing: the next command would hear the same
		x := talk(t, newBackend(), atGreeted, "C: AUTH CHAT\nS: 334 *")
		x.conn.Shutdown()
		x.play(shutdownScript)
	})
	for name, tc := range map[string]struct {
		at     stage
		finish string
	}{
		"after MAIL":     {atMail, "C: RSET\nS: 250 *\n"},
		"after RCPT":     {atRcpt, "C: DATA\nS: 354 *\nC> x\\r\\n.\\r\\n\n" + queued + "\n"},
		"in DATA":        {atData, "C> x\\r\\n.\\r\\n\n" + queued + "\n"},
		"between chunks": {atRcpt, "C> BDAT 1\\r\\nx\nS: 250 *\nC: BDAT 0 LAST\n" + queued + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := start(t, newBackend(), tc.at)
			x.conn.Shutdown()
			x.play(tc.finish + shutdownScript)
			if end := x.end(); end.Reason != EndShutdown {
				t.Errorf("ended as %+v", end)
			}
		})
	}
}

// An idle client is woken: it needs to send nothing.
func TestShutdownWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := bubble(t, newBackend(), atReady)
		synctest.Wait() // now it waits for a command
		x.conn.Shutdown()
		x.must(shutdownScript)
		<-x.done
	})
	synctest.Test(t, func(t *testing.T) { // before the first octet
		x := bubble(t, newBackend(), atClear)
		x.conn.Shutdown()
		x.conn.Shutdown()
		x.must(shutdownScript)
		<-x.done
	})
}

func TestCloseBreaks(t *testing.T) {
	x := start(t, newBackend(), atData)
	x.conn.Close()
	if end := x.end(); end.Reason != EndLost || x.conn.Context().Err() == nil {
		t.Errorf("ended as %+v", end)
	}
}

// Nobody serves this socket any more.
func TestNoSettings(t *testing.T) {
	b := newBackend()
	x := start(t, b, atReady)
	b.settings.Store(nil)
	x.play("C: NOOP\nS: 421 4.3.2 *\nEOF")
	if end := x.end(); end.Reason != EndShutdown {
		t.Errorf("ended as %+v", end)
	}
	dial(t, b, false).play("S: 421 4.3.2 *\nEOF")
	dial(t, b, true).play("EOF") // where nothing can be said
}

// A reload reaches open sessions.
func TestNewSettings(t *testing.T) {
	b := newBackend()
	x := start(t, b, atReady)
	b.with(func(s *Settings) { s.Hostname = "new.example.test" })
	x.play("C: EHLO c\nS: 250-new.example.test\nS: ...")
}

func TestSessionRefused(t *testing.T) {
	b := newBackend()
	b.refuse = errors.New("inner detail")
	dial(t, b, false).play("S: 421 4.3.0 Temporary failure, try again later\nEOF")
	b.refuse = &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "Not you"}
	x := dial(t, b, false)
	x.play("S: 554 5.7.1 Not you\nEOF")
	x.end()
}

func TestRefuse(t *testing.T) {
	server, raw := socketPair(t)
	Refuse(server, "Too many\r\nconnections")
	got, err := io.ReadAll(raw)
	if err != nil || string(got) != "421 4.7.0 Too many  connections\r\n" {
		t.Errorf("said %q, %v", got, err)
	}
}

// A panic is 421, one line for the log, and no transaction left open.
func TestPanics(t *testing.T) {
	for at, call := range map[stage]string{atClear: "session", atGreeted: "auth", atReady: "mail", atMail: "rcpt", atRcpt: "begin", atData: "commit"} {
		b := newBackend()
		if at == atClear {
			b.panicAt = call
			dial(t, b, false).play("S: 421 4.3.0 Internal error*\nEOF")
			continue
		}
		x := start(t, b, at)
		b.mu.Lock()
		b.panicAt = call
		b.mu.Unlock()
		line := map[stage]string{atGreeted: login, atReady: "MAIL FROM:<>", atMail: "RCPT TO:<a@example.org>", atRcpt: "DATA", atData: "."}[at]
		x.play("C: " + line + "\nS: 421 4.3.0 Internal error*\nEOF")
		if end := x.end(); end.Reason != EndPanic || !strings.Contains(end.Panic, "bug in "+call) || !strings.Contains(end.Panic, "fake_test.go") {
			t.Errorf("%s: ended as %+v", call, end)
		}
		x.close()
	}
	for _, script := range []string{"C: DATA\nS: 354 *\nC: x\n", "C> BDAT 1\\r\\nx\n"} {
		b := newBackend()
		b.panicAt = "write"
		x := talk(t, b, atRcpt, script+"S: 421 4.3.0 *\nEOF")
		x.close()
		if len(b.aborts) != 1 {
			t.Errorf("aborts %v", b.aborts)
		}
	}
}

// lateAddr is a connection whose address is known after a while, as with the PROXY protocol.
type lateAddr struct {
	net.Conn
	known chan struct{}
}

func (l lateAddr) RemoteAddr() net.Addr {
	<-l.known
	return l.Conn.RemoteAddr()
}

func TestNewAsksNothing(t *testing.T) {
	server, raw := socketPair(t)
	known := make(chan struct{})
	x := attach(t, newBackend(), lateAddr{server, known}, raw, false, Options{}) // returns
	close(known)
	x.play("S: 220 *\nC: QUIT\nS: 221 *\nEOF")
	if x.end(); x.conn.RemoteAddr() == nil || x.conn.LocalAddr() == nil || len(x.conn.ID()) != 16 {
		t.Error("no addresses or id")
	}
}

// A handshake that was made before counts as one of implicit TLS does: EHLO comes first, and nothing is
// announced or refused as in clear text.
func TestTLSBefore(t *testing.T) {
	server, raw := socketPair(t)
	within := tls.Server(server, serverTLS())
	client := tls.Client(raw, clientTLS())
	go func() { _ = client.Handshake() }()
	if err := within.Handshake(); err != nil {
		t.Fatal(err)
	}
	state := within.ConnectionState()
	x := attach(t, newBackend(), within, client, false, Options{TLS: &state})
	x.play("S: 220 msa.example.test ESMTP\nC: AUTH PLAIN\nS: 503 5.5.1 *\nC: EHLO a\nS: 250-msa.example.test\nS: 250-PIPELINING\nS: 250-SIZE *\nS: 250-8BITMIME\nS: 250-AUTH PLAIN*\nS: ...\n" +
		"C: STARTTLS\nS: 503 5.5.1 TLS is active already\nC: " + login + "\nS: 235 *\nC: QUIT\nS: 221 *\nEOF")
	if x.end(); x.conn.TLS() != &state {
		t.Error("another TLS state")
	}
}

func TestEndCounts(t *testing.T) {
	b := newBackend()
	x := talk(t, b, atClear, "C: NOOP\nS: 250 *\nC: RSET\nS: 530 *\nC: QUIT\nS: 221 *\nEOF")
	if end := x.end(); end.Commands != 3 || end.BadCommands != 1 || end.Reason != EndQuit || end.Err != nil || end.Panic != "" {
		t.Errorf("ended as %+v", end)
	}
}

// What TLS has to say leaves with what the session has: its ticket with the first reply, its farewell with that to QUIT.
func TestWritesOfTLS(t *testing.T) {
	for version, handshake := range map[uint16]int32{tls.VersionTLS12: 2, tls.VersionTLS13: 1} {
		for _, implicit := range []bool{false, true} {
			server, raw := socketPair(t)
			counted := &writeCounter{Conn: server}
			x := attach(t, newBackend(), counted, raw, implicit, Options{})
			x.tlsVersion = version
			want := handshake + 3
			if implicit {
				x.play("TLS\nS: 220 *\nC: NOOP\nS: 250 *")
			} else {
				x.play("S: 220 *\nC: EHLO a\nS: ...\nC: STARTTLS\nS: 220 *\nTLS\nC: NOOP\nS: 250 *")
				want += 2 // replies in clear, and no greeting
			}
			x.play("C: QUIT\nS: 221 *\nEOF")
			if x.end(); counted.n.Load() != want {
				t.Errorf("%s, implicit %v: %d writes, want %d", tls.VersionName(version), implicit, counted.n.Load(), want)
			}
		}
	}
}

type writeCounter struct {
	net.Conn
	n atomic.Int32
}

func (w *writeCounter) Write(p []byte) (int, error) {
	w.n.Add(1)
	return w.Conn.Write(p)
}
