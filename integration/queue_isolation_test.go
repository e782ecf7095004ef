package integration

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop/hoptest"
)

// dripping greets without an end, a line now and then.
func dripping(t *testing.T) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for {
					if _, err := io.WriteString(c, "220-wait\r\n"); err != nil {
						return
					}
					select {
					case <-time.After(time.Second / 2):
					case <-t.Context().Done():
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

// arrivals are the times at which recipients came to a next hop.
type arrivals struct {
	mu sync.Mutex
	at map[string]time.Time
}

func (a *arrivals) reply(line string) string {
	if to, ok := strings.CutPrefix(line, "RCPT TO:<"); ok {
		to, _, _ = strings.Cut(to, ">")
		a.mu.Lock()
		defer a.mu.Unlock()
		a.at[to] = time.Now()
	}
	return ""
}

func (a *arrivals) of(to string) (time.Time, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at, ok := a.at[to]
	return at, ok
}

// Beside 1,000 messages at a next hop that says nothing, at one that takes 30 s a message and at one whose greeting does
// not end, and beside 200 silent mail servers of 300 domains, messages of other users and of the same one go to a
// Maildir and to a healthy hop as fast as at a server that has nothing else to do, by turns.
func TestIsolation(t *testing.T) {
	needRoot(t) // mail servers are at port 25
	for n := range 200 {
		mute(t, fmt.Sprintf("127.78.1.%d:25", n+1))
	}
	silent := freeAddress(t)
	mute(t, silent)
	came := &arrivals{at: make(map[string]time.Time)}
	healthy := hoptest.New(t, func(h *hoptest.Hop) { h.TLS, h.Forget, h.Reply = nil, true, came.reply })
	slow := hoptest.New(t, func(h *hoptest.Hop) {
		h.TLS = nil
		h.Reply = func(line string) string {
			if line == "." {
				select {
				case <-time.After(30 * time.Second):
				case <-t.Context().Done():
				}
			}
			return ""
		}
	})
	hoptest.New(t, func(h *hoptest.Hop) { h.At, h.TLS, h.Forget = "127.78.0.1:25", nil, true })
	l := layout{
		users: "alice@example.org:{PLAIN}secret\nbob@example.org:{PLAIN}secret\n",
		msa: `
	@silent recipient_domain silent.test
	deliver @silent relay ` + silent + ` {
		tls off
	}
	@slow recipient_domain slow.test
	deliver @slow relay ` + slow.Addr + ` {
		tls off
	}
	@drips recipient_domain drips.test
	deliver @drips relay ` + dripping(t) + ` {
		tls off
	}
	@healthy recipient_domain healthy.test
	deliver @healthy relay ` + healthy.Addr + ` {
		tls off
	}
	@many recipient_domain *.example
	deliver @many relay {
		mx
		resolver ` + manyDomains(t, "127.78") + `
		tls off
	}
	deliver maildir $DIR/mail/{msa.recipient.domain}/{msa.recipient.local}`,
	}
	loaded, quiet := start(t, l), start(t, l)
	burden(t, loaded)

	var without []time.Duration
	for round := range 5 { // a machine may be busy with something else for a while
		w, wo := alternately(t, loaded, quiet, came, round)
		without = append(without, wo...)
		most := max(2*percentile(without, 99), percentile(without, 99)+100*time.Millisecond)
		t.Logf("of %d messages: median %s, p99 %s; without the others: median %s, p99 %s", len(w),
			percentile(w, 50), percentile(w, 99), percentile(wo, 50), percentile(wo, 99))
		if percentile(w, 99) <= most {
			return
		}
	}
	t.Error("messages wait for those at other next hops")
}

// burden has alice submit what keeps next hops.
func burden(t *testing.T, s *server) {
	t.Helper()
	trust := s.tlsConfig()
	var clients sync.WaitGroup
	for _, domain := range []string{"silent.test", "slow.test", "drips.test"} {
		for n := range 2 {
			clients.Go(func() {
				c, err := s.as(trust, "alice@example.org")
				if err != nil {
					t.Error(err)
					return
				}
				defer c.close()
				for i := range 500 {
					if _, err := c.submit("alice@example.org", fmt.Sprintf("user%d-%d@%s", n, i, domain), letter("waits")); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
	}
	clients.Go(func() {
		c, err := s.as(trust, "alice@example.org")
		if err == nil {
			defer c.close()
			err = c.do("250", "MAIL FROM:<alice@example.org>")
		}
		for n := 0; err == nil && n < 300; n++ {
			domain := fmt.Sprintf("silent%d.example", n+1)
			if n >= 200 {
				domain = fmt.Sprintf("live%d.example", n)
			}
			err = c.do("250", "RCPT TO:<bob@"+domain+">")
		}
		if err == nil {
			_, err = c.data(letter("to many"))
		}
		if err != nil {
			t.Error(err)
		}
	})
	clients.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// alternately sends messages to one server and the other, and returns how long each took to arrive.
func alternately(t *testing.T, loaded, quiet *server, came *arrivals, round int) (with, without []time.Duration) {
	t.Helper()
	type session struct {
		s    *server
		c    *talker
		user string
	}
	var sessions []session
	for _, s := range []*server{loaded, quiet} {
		for _, user := range []string{"alice", "bob"} {
			trust := s.tlsConfig()
			c, err := s.as(trust, user+"@example.org")
			if err != nil {
				t.Fatal(err)
			}
			defer c.close()
			sessions = append(sessions, session{s, c, user})
		}
	}
	for n := range 101 {
		for k, one := range sessions {
			for _, domain := range []string{"healthy.test", "maildir.test"} {
				local := fmt.Sprintf("r%d-%d-%d", round, n, k)
				began := time.Now()
				if _, err := one.c.submit(one.user+"@example.org", local+"@"+domain, strings.Replace(letter("quick"), "alice", one.user, 1)); err != nil {
					t.Fatal(err)
				}
				at := arrival(t, one.s, came, local, domain)
				switch {
				case n == 0: // the lanes are new
				case one.s == loaded:
					with = append(with, at.Sub(began))
				default:
					without = append(without, at.Sub(began))
				}
			}
		}
	}
	return with, without
}

func arrival(t *testing.T, s *server, came *arrivals, local, domain string) (at time.Time) {
	t.Helper()
	inbox := filepath.Join(s.dir, "mail", domain, local, "new")
	for deadline := time.Now().Add(patience); ; time.Sleep(200 * time.Microsecond) {
		if at, ok := came.of(local + "@" + domain); ok {
			return at
		}
		if names, err := os.ReadDir(inbox); err == nil && len(names) > 0 {
			return time.Now()
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s@%s waits in vain", local, domain)
		}
	}
}

func percentile(all []time.Duration, p int) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(len(sorted)-1, len(sorted)*p/100)].Round(10 * time.Microsecond)
}
