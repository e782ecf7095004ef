package integration

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// three hundred log-ins at the same moment from one address succeed, and so do their messages:
// many people, or a load balancer, may stand behind one address.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	s := start(t, layout{msa: "timeouts {\n handshake 5m\n before_auth 10m\n}"}) // the first waits until all are there
	trust := s.tlsConfig()
	many := often(300, 100)
	var ready, done sync.WaitGroup
	ready.Add(many)
	begin := make(chan struct{})
	for i := range many {
		done.Go(func() {
			c, err := connect("tcp", s.implicit, trust)
			ready.Done()
			if err != nil {
				t.Error("connecting:", err)
				return
			}
			defer c.close()
			<-begin // all are connected
			err = all(
				func() error { return c.do("250", "EHLO client.example.org") },
				func() error { return c.login("alice@example.org", "secret") },
				func() error {
					_, err := c.submit("alice@example.org", "bob@example.net", letter(fmt.Sprint("many ", i)))
					return err
				},
			)
			if err != nil {
				t.Error(err)
			}
		})
	}
	ready.Wait()
	close(begin)
	done.Wait()
	s.mail("bob@example.net", many)
}

// What a stranger repeats is bounded in answers, in lines of the log and in questions to a backend.
func TestStrangersAreBounded(t *testing.T) {
	t.Parallel()
	asked := &counter{}
	down, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer down.Close()
	go func() { // a backend that accepts and hangs up
		for {
			nc, err := down.Accept()
			if err != nil {
				return
			}
			asked.add()
			_ = nc.Close()
		}
	}()
	s := start(t, layout{auth: `auth {
		http http://` + down.Addr().String() + `/auth
	}`})
	trust := s.tlsConfig()
	for name, line := range map[string]string{
		"password": "AUTH PLAIN AGEAYg==", "RCPT": "RCPT TO:<a@example.org>", "NOOP": "NOOP", "EHLO": "EHLO c", "RSET": "RSET",
		"unknown": "XYZZY", "cancelled": "AUTH PLAIN\r\n*", "mechanism": "AUTH GSSAPI",
	} {
		logged, before, answers := len(s.log.String()), asked.count(), 0
		end := time.Now().Add(2 * time.Second)
		for time.Now().Before(end) {
			c, err := connect("tcp", s.implicit, trust)
			if err != nil {
				t.Fatal(name, err)
			}
			err = c.do("250", "EHLO client.example.org")
			go func() { _, _ = io.WriteString(c.nc, strings.Repeat(line+"\r\n", 1000)) }()
			for err == nil {
				var reply string
				if reply, err = c.reply(); err == nil {
					answers++
				}
				if strings.HasPrefix(reply, "421") {
					err = errors.New("the end")
				}
			}
			c.close()
			if answers > 150 && name != "NOOP" && name != "EHLO" && name != "RSET" { // a few connections are enough
				break
			}
		}
		// By name: a line for each connection and refusal at most, of which 60 of one cause are written.
		if questions := asked.count() - before; questions > 150 {
			t.Errorf("%s: %d questions to the backend", name, questions)
		}
		if size := len(s.log.String()) - logged; size > 200<<10 {
			t.Errorf("%s: %d octets of log for %d answers", name, size, answers)
		}
	}
}

// 20 addresses hold 4,000 connections and try 400 times a second: who comes from another address gets
// in, in about the time that it takes on a quiet server.
func TestFlood(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 15 s")
	}
	s := start(t, layout{})
	for range 3 { // a machine may be busy with something else for a while
		quiet, flooded := flood(t, s)
		t.Logf("median: %v quiet, %v flooded", quiet, flooded)
		if flooded <= 3*quiet+50*time.Millisecond { // a busy machine is not the flood's doing
			return
		}
	}
	t.Error("honest clients wait for the flood")
}

// flood returns how long an honest client takes without and with one.
func flood(t *testing.T, s *server) (quiet, flooded time.Duration) {
	t.Helper()
	trust := s.tlsConfig()
	honest := func(n int) (median time.Duration) {
		var took []time.Duration
		for range n {
			begun := time.Now()
			c, err := dialFrom("127.0.0.1", s.starttls)
			if err != nil {
				t.Fatal("an honest client:", err)
			}
			err = all(
				func() error { return c.starttls(trust, nil) },
				func() error { return c.login("alice@example.org", "secret") },
				func() error { return c.do("221", "QUIT") },
			)
			c.close()
			if err != nil {
				t.Fatal("an honest client:", err)
			}
			took = append(took, time.Since(begun))
		}
		slices.Sort(took)
		return took[n/2]
	}
	quiet = honest(100)

	var held, filled sync.WaitGroup
	filled.Add(20)
	stop := make(chan struct{})
	for i := range 20 {
		from := fmt.Sprintf("127.0.1.%d", i+1)
		held.Go(func() {
			var open []net.Conn
			defer func() {
				for _, nc := range open {
					_ = nc.Close()
				}
			}()
			dial := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
			again := time.NewTicker(50 * time.Millisecond) // 20 a second and address
			defer again.Stop()
			for tries := 0; ; tries++ {
				if tries == 200 {
					filled.Done() // as fast as may be until here
				}
				if tries >= 200 {
					select {
					case <-stop:
						return
					case <-again.C:
					}
				}
				nc, err := dial.Dial("tcp", s.starttls)
				if err != nil {
					t.Error(err)
					return
				}
				if open = append(open, nc); len(open) > 200 {
					_ = open[0].Close()
					open = open[1:]
				}
			}
		})
	}
	s.await("the flood", func() bool { return strings.Contains(s.log.String(), "unauthenticated_per_ip") })
	filled.Wait()
	flooded = honest(100)
	close(stop)
	held.Wait()
	return max(quiet, honest(100)), flooded // what else the machine does may change meanwhile
}

// dialFrom connects from an address of this host.
func dialFrom(local, address string) (*talker, error) {
	d := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.ParseIP(local)}}
	nc, err := d.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	return greeted(nc, nil)
}

type counter struct {
	mu sync.Mutex
	n  int
}

func (c *counter) add() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
}

func (c *counter) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// What keeps a client from submitting stands in the log, with the remedy.
func TestHints(t *testing.T) {
	t.Parallel()
	s := start(t, layout{})
	trust := s.tlsConfig()
	say := func(address, text string) {
		t.Helper()
		nc, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(nc, text)
		_ = nc.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, nc)
		_ = nc.Close()
	}
	if conn, err := tls.Dial("tcp", s.starttls, trust); err == nil {
		_ = conn.Close()
		t.Error("TLS on the port where it begins with STARTTLS")
	}
	s.logged("session ended", "the client began with TLS")
	say(s.implicit, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	s.logged("session ended", `"reason":"tls"`, "speaks HTTP")
	say(s.starttls, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	s.logged("session ended", `"tried":["GET"`, "speaks HTTP")
	say(s.implicit, "EHLO client.example\r\n")
	s.logged("session ended", "began in clear text")
	say(s.starttls, "EHLO scanner\r\nMAIL FROM:<scanner@example.org>\r\nQUIT\r\n")
	s.logged("MAIL refused", "530 5.7.0", "FROM:<scanner@example.org>", "does not use STARTTLS")
	s.logged("session ended", `"tried":["EHLO","MAIL","QUIT"]`)
	old := trust.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	if _, err := tls.Dial("tcp", s.implicit, old); err == nil {
		t.Error("TLS 1.1")
	}
	s.logged("session ended", `"reason":"tls"`, "no TLS version that is accepted")
	wary := trust.Clone()
	wary.RootCAs = nil
	if _, err := tls.Dial("tcp", s.implicit, wary); err == nil {
		t.Error("a certificate that nobody trusts")
	}
	s.logged("session ended", `"reason":"tls"`, "does not trust the certificate")

	c, err := connect("tcp", s.implicit, trust)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if err := all(
		func() error { return c.do("250", "EHLO client.example") },
		func() error { return c.do("530", "MAIL FROM:<alice@example.org>") },
		func() error { return c.login("alice@example.org", "secret") },
		func() error { return c.envelope("alice@example.org", "bob@example.net") },
		func() error { return c.do("354", "DATA") },
		func() error { return c.do("554 5.6.0", "Subject: x\n\nHello.\n\r\n.") },
	); err != nil {
		t.Error(err)
	}
	s.logged("MAIL refused", "does not log in")
	s.logged("message refused", "554 5.6.0", "newlines normalize")
}
