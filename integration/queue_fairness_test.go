package integration

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop/hoptest"
)

// counted is a next hop that takes a message when it is told to, and knows whose came in what order.
type counted struct {
	*hoptest.Hop
	next chan struct{}

	mu      sync.Mutex
	senders []string
}

func newCounted(t *testing.T) *counted {
	c := &counted{next: make(chan struct{})}
	c.Hop = hoptest.New(t, func(h *hoptest.Hop) {
		h.TLS, h.Forget = nil, true
		h.Reply = func(line string) string {
			if from, ok := strings.CutPrefix(line, "MAIL FROM:<"); ok {
				from, _, _ = strings.Cut(from, "@")
				c.mu.Lock()
				c.senders = append(c.senders, from)
				c.mu.Unlock()
			}
			if line == "." {
				select {
				case <-c.next:
				case <-t.Context().Done():
				}
			}
			return ""
		}
	})
	return c
}

func (c *counted) came() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.senders...)
}

// take lets n messages in, and returns who sent the next n.
func (c *counted) take(s *server, n int) []string {
	s.t.Helper()
	before := len(c.came())
	for i := range n {
		c.next <- struct{}{}
		s.await("another message", func() bool { return len(c.came()) > before+i })
	}
	return c.came()[before:]
}

// At a hop that takes one message at a time, where one user has 10,000 waiting, each other user's message is among the
// next (users + 1), and one of a higher priority before them.
func TestTurns(t *testing.T) {
	t.Parallel()
	const users = 100
	hop := newCounted(t)
	var passwords strings.Builder
	for n := range users {
		fmt.Fprintf(&passwords, "user%d@example.org:{PLAIN}secret\n", n)
	}
	s := start(t, layout{users: passwords.String(), msa: `
	deliver relay ` + hop.Addr + ` {
		tls off
		concurrency 1
	}
	limits {
		priority 9
	}`})
	trust := s.tlsConfig()
	submit := func(user, messages int, parameter string) {
		from := fmt.Sprintf("user%d@example.org", user)
		c, err := s.as(trust, from)
		for n := 0; err == nil && n < messages; n++ {
			err = all(
				func() error { return c.do("250", "MAIL FROM:<"+from+">"+parameter) },
				func() error { return c.do("250", "RCPT TO:<bob@example.net>") },
			)
			if err == nil {
				_, err = c.data(strings.Replace(letter("turn"), "alice@example.org", from, 1))
			}
		}
		if err != nil {
			t.Error(err)
			return
		}
		c.close()
	}
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() { submit(0, often(1250, 200), "") })
	}
	clients.Wait()
	hop.take(s, 20)
	for _, n := range []int{2, 10, users} {
		for u := 1; u < n; u++ {
			submit(u, 1, "")
		}
		got := hop.take(s, n+1) // one is at the hop's door
		for u := 1; u < n; u++ {
			if !strings.Contains(strings.Join(got, " ")+" ", fmt.Sprintf("user%d ", u)) {
				t.Errorf("of %d users, user%d is not among the next: %v", n, u, got)
			}
		}
	}
	for u := 1; u < 10; u++ {
		submit(u, 1, "")
	}
	submit(20, 3, " MT-PRIORITY=4")
	got := hop.take(s, 4) // one turn in eight goes lower
	n := 0
	for _, user := range got {
		if user == "user20" {
			n++
		}
	}
	if n != 3 {
		t.Errorf("of a higher priority came: %v", got)
	}
}
