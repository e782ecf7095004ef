package smtpd

import (
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-smtp"
)

// preset makes a session believe that it has come to a stage, without octets of TLS on the wire.
func preset(c *Conn, at stage) {
	if at >= atNew {
		c.tlsState = &tls.ConnectionState{}
	}
	c.ehlo, c.authenticated = at >= atGreeted, at >= atReady
}

// bubble runs a client of a session at atReady or before, in clear, on fake time. It must be called in a synctest bubble.
func bubble(t *testing.T, b *backend, at stage) *client {
	server, raw := net.Pipe()
	x := &client{t: t, b: b, raw: raw, nc: raw, done: make(chan struct{})}
	x.conn = New(server, b, false, Options{})
	preset(x.conn, at)
	go func() {
		defer close(x.done)
		x.conn.Serve()
	}()
	x.r = newReader(raw)
	x.must("S: 220 msa.example.test ESMTP")
	for i := atMail; i <= at; i++ {
		x.must(stages[i])
	}
	return x
}

// must is play without a deadline, which would be fake too.
func (x *client) must(script string) {
	x.t.Helper()
	for _, line := range strings.Split(script, "\n") {
		if line = strings.TrimLeft(line, "\t"); line == "" {
			continue
		}
		if err := x.step(line); err != nil {
			x.t.Fatalf("%.200s\n%v", line, err)
		}
	}
}

// after expects the session's end at a moment, with a reply and a reason.
func (x *client) after(begun time.Time, want time.Duration, reply, reason string) {
	x.t.Helper()
	if reply != "" {
		x.must("S: " + reply)
	}
	x.must("EOF")
	<-x.done
	if got := time.Since(begun); got < want || got > want+5*time.Second {
		x.t.Errorf("it took %v, not %v", got, want)
	}
	if end := x.end(); end.Reason != reason {
		x.t.Errorf("ended as %+v", end)
	}
	if x.b.open != 0 {
		x.t.Errorf("%d transactions were left open", x.b.open)
	}
}

func TestTimeouts(t *testing.T) {
	for _, tc := range []struct {
		name   string
		at     stage
		script string
		wait   time.Duration
		reply  string
	}{
		{"before TLS", atClear, "C: NOOP\nS: 250 *", time.Minute, "421 4.4.2 *"},
		{"in a line before TLS", atClear, "C> NOO", time.Minute, "421 4.4.2 *"},
		{"in a refused chunk", atClear, "C> BDAT 10\\r\\nx", time.Minute, "421 4.4.2 *"},
		{"before AUTH", atGreeted, "", time.Minute, "421 4.4.2 *"},
		{"in AUTH", atGreeted, "C: AUTH CHAT\nS: 334 *", time.Minute, "421 4.4.2 *"},
		{"a command", atReady, "", 5 * time.Minute, "421 4.4.2 *"},
		{"a command of a transaction", atRcpt, "", 5 * time.Minute, "421 4.4.2 *"},
		{"14 in DATA", atData, "C> x\\r\\n", 3 * time.Minute, "421 4.4.2 *"},
		{"14 in BDAT", atRcpt, "C> BDAT 10\\r\\nVRFY", 3 * time.Minute, "421 4.4.2 *"},
		{"between chunks", atRcpt, "C> BDAT 1\\r\\nx\nS: 250 *", 5 * time.Minute, "421 4.4.2 *"},
		{"in a chunk without a transaction", atReady, "C> BDAT 10\\r\\nx", 3 * time.Minute, "421 4.4.2 *"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := bubble(t, newBackend(), tc.at)
				begun := time.Now()
				x.must(tc.script)
				x.after(begun, tc.wait, tc.reply, EndTimeout)
			})
		})
	}
}

// A message that was broken off with a reply was refused, and the session hears of that reply.
func TestMessageTimeouts(t *testing.T) {
	for text, more := range map[string]string{"Timeout in the message, closing the connection": "", "Message comes too slowly, closing the connection": "x"} {
		synctest.Test(t, func(t *testing.T) {
			b := newBackend()
			x := bubble(t, b, atData)
			go func() {
				for more != "" && x.send(more) == nil {
					time.Sleep(time.Second)
				}
			}()
			x.must("S: 421 4.4.2 " + text + "\nEOF")
			_ = x.raw.Close()
			x.end()
			time.Sleep(2 * time.Second)
			var reply *smtp.SMTPError
			if len(b.aborts) != 1 || !errors.As(b.aborts[0], &reply) || reply.Code != 421 || reply.EnhancedCode != code(4, 4, 2) || reply.Message != text {
				t.Errorf("aborted with %v", b.aborts)
			}
		})
	}
}

// An unauthenticated session has its minute, however busy it is.
func TestBeforeAuthIsInAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := bubble(t, newBackend(), atGreeted)
		begun := time.Now()
		for range 5 {
			time.Sleep(11 * time.Second)
			x.must("C: NOOP\nS: 250 *")
		}
		x.after(begun, time.Minute, "421 4.4.2 *", EndTimeout)
	})
}

func TestSessionTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := bubble(t, newBackend(), atReady)
		begun := time.Now()
		for range 24*15 - 1 {
			time.Sleep(4 * time.Minute)
			x.must("C: NOOP\nS: 250 *")
		}
		x.after(begun, 24*time.Hour, "421 4.4.2 *", EndTimeout)
	})
}

// 13: each block has its time, not the whole.
func TestSlowBodyPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := bubble(t, newBackend(), atData)
		for range 10 {
			time.Sleep(2 * time.Minute)
			x.must("C> " + strings.Repeat("x", 120*100) + "\\r\\n")
		}
		x.must("C: .\n" + queued + "\nC: QUIT\nS: 221 *\nEOF")
		<-x.done
	})
}

func TestTricklingBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := bubble(t, newBackend(), atData)
		begun := time.Now()
		go func() {
			for x.send("x") == nil {
				time.Sleep(time.Second)
			}
		}()
		x.after(begun, time.Minute, "421 4.4.2 *", EndTimeout)
		_ = x.raw.Close()
		time.Sleep(2 * time.Second) // the client notices
	})
	synctest.Test(t, func(t *testing.T) { // switched off
		x := bubble(t, newBackend().with(func(s *Settings) { s.DataRate = -1 }), atData)
		for range 10 {
			time.Sleep(time.Minute)
			x.must("C> x")
		}
		x.must("C> \\r\\n.\\r\\n\n" + queued)
		_ = x.raw.Close()
		<-x.done
	})
}

// The pauses between chunks are not a trickle.
func TestPausesBetweenChunks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := bubble(t, newBackend(), atRcpt)
		for range 10 {
			time.Sleep(4 * time.Minute)
			x.must("C> BDAT 1\\r\\nx\nS: 250 *")
		}
		x.must("C: BDAT 0 LAST\n" + queued)
		_ = x.raw.Close()
		<-x.done
	})
}

// A client that does not read is let go, and holds up nobody.
func TestClientThatDoesNotRead(t *testing.T) {
	for at, want := range map[stage]time.Duration{atClear: time.Minute, atReady: defaultWrite} {
		synctest.Test(t, func(t *testing.T) {
			x := bubble(t, newBackend(), at)
			begun := time.Now()
			go func() { _ = x.send(strings.Repeat("NOOP\r\n", 10)) }() // more would wait for us
			<-x.done
			if got := time.Since(begun); got < want || got > want+5*time.Second {
				t.Errorf("it took %v, not %v", got, want)
			}
			if end := x.end(); end.Reason != EndLost {
				t.Errorf("ended as %+v", end)
			}
		})
	}
}

func TestHandshakeTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := bubble(t, newBackend(), atClear)
		x.must("C: STARTTLS\nS: 220 *")
		x.after(time.Now(), 10*time.Second, "", EndTLS)
	})
}
