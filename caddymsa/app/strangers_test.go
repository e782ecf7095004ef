package app

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
)

// overTCP loads a server with TLS from the first byte on a TCP port, since unix sockets are not throttled.
func (in *instance) overTCP(throttle map[string]any) (connect func() *dialogue) {
	in.t.Helper()
	address := fmt.Sprintf("127.0.0.1:%d", installed.FreePort(in.t))
	auth := map[string]any{"backends": []any{map[string]any{"module": "fake", "world": in.mail.id}}, "throttle": throttle,
		"mechanisms": []string{"PLAIN", "SCRAM-SHA-256", "OAUTHBEARER"}}
	in.load(with("listen_tls", []string{address}), with("auth", auth))
	return func() *dialogue {
		nc, err := tls.Dial("tcp", address, in.tls)
		if err != nil {
			in.t.Error(err)
			return nil
		}
		c := &dialogue{in: in, nc: nc, r: bufio.NewReader(nc)}
		in.t.Cleanup(func() { _ = nc.Close() })
		c.want("220")
		c.do("EHLO client.example", "250")
		return c
	}
}

// Sixty guesses at the same moment are ten; then the client hears 421, and is closed.
func TestSimultaneousGuesses(t *testing.T) {
	in := newInstance(t)
	connect := in.overTCP(map[string]any{"failures": 10, "delay": "1ms"})
	var clients []*dialogue
	for range 60 {
		clients = append(clients, connect())
	}
	var mu sync.Mutex
	heard := make(map[string]int)
	var all sync.WaitGroup
	for _, c := range clients {
		all.Go(func() {
			c.send("AUTH PLAIN " + b64("\x00alice@example.org\x00guess") + "\r\n")
			code := c.reply()[:3]
			mu.Lock()
			defer mu.Unlock()
			heard[code]++
		})
	}
	all.Wait()
	if heard["535"] != 10 || heard["421"] != 50 {
		t.Errorf("heard %v", heard)
	}
	c := connect()
	c.do("AUTH PLAIN "+b64("\x00ALICE@example.org\x00secret"), "421 4.7.0") // another spelling of the name
	c.closed()
}

// A token that was refused counts and is logged though the client never comes back for the 535; and
// who asks for a user's key and goes away pays for the question.
func TestAbandonedAuth(t *testing.T) {
	for name, line := range map[string]string{
		"token":         "AUTH OAUTHBEARER " + b64("n,a=alice@example.org,\x01auth=Bearer wrong\x01\x01"),
		"SCRAM":         "AUTH SCRAM-SHA-256 " + b64("n,,n=alice@example.org,r=abcdefghijklmnop"),
		"SCRAM, nobody": "AUTH SCRAM-SHA-256 " + b64("n,,n=nobody@example.org,r=abcdefghijklmnop"),
	} {
		t.Run(name, func(t *testing.T) {
			in := newInstance(t)
			connect := in.overTCP(map[string]any{"network_failures": 4, "delay": "1ms"})
			for i := range 4 {
				c := connect()
				c.do(line, "334 ")
				if i%2 == 0 {
					c.do("*", "501 5.7.0")
				}
				_ = c.nc.Close()
			}
			if name == "token" {
				in.await("four lines", func() bool { return strings.Count(in.log(), `"authentication failed"`) == 4 })
			}
			in.await("a block", func() bool { return strings.Count(in.log(), `"session ended"`) == 4 })
			c := connect()
			c.do("AUTH PLAIN "+b64("\x00alice@example.org\x00secret"), "421 4.7.0")
			c.closed()
		})
	}
}

// Whatever module panics, and whenever: the session ends with 421 or the message is accepted, and the
// next client is served.
func TestPanicsEndSessionsOnly(t *testing.T) {
	in := newInstance(t)
	in.load(with("policies", []any{map[string]any{"policy": map[string]any{"module": "fake", "world": in.mail.id}}}))
	for _, moment := range []string{"sender", "recipient", "message"} {
		in.mail.change(func() {
			in.mail.policy = func(at string, _ *caddymsa.Submission, _ *caddymsa.Message) error {
				if at == moment {
					panic("a bug at " + moment)
				}
				return nil
			}
		})
		c := in.session()
		c.send("MAIL FROM:<alice@example.org>\r\nRCPT TO:<bob@example.net>\r\nDATA\r\n")
		for {
			reply := c.reply()
			if strings.HasPrefix(reply, "354") {
				c.send(letter + ".\r\n")
			}
			if strings.HasPrefix(reply, "421 4.3.0") {
				break
			}
		}
		c.closed()
		in.logged("session ended by a panic", "a bug at "+moment)
	}
	in.mail.change(func() { in.mail.policy, in.mail.handler = nil, func() { panic("a bug in a handler") } })
	c := in.session()
	c.submit("bob@example.net")
	in.logged("a handler of events panicked")
	c.submit("bob@example.net")
	in.session().submit("bob@example.net")
	in.mail.change(func() { in.mail.handler = nil }) // Caddy has events of its own
	in.arrived(3)
}
