package integration

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

// nextHop is a peer that can be ended and begun again.
type nextHop struct {
	signal func(syscall.Signal)
	again  func() // after SIGKILL
	copies func(subject string) int
}

// within stops and kills a next hop in the midst of a transaction, at each of its moments. What was not sent to
// its end arrives once; of what was, only the hop knew that it had it, so that it may arrive twice.
func (s *server) within(t *testing.T, p *tap, hop nextHop, to string) {
	t.Helper()
	trust := s.tlsConfig()
	for _, sig := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGKILL} {
		for _, at := range []moment{atMAIL, atDATA, atEnd} {
			name := fmt.Sprintf("%v at %s", sig, at)
			passed := p.arm(at, func() { hop.signal(sig) })
			id := s.mustSend(trust, "alice@example.org", "alice@example.org", to, letter(name))
			select {
			case <-passed:
			case <-time.After(patience):
				t.Fatalf("%s: it never came to that", name)
			}
			s.logged(id, "delivery deferred")
			if sig == syscall.SIGSTOP {
				hop.signal(syscall.SIGCONT)
			} else {
				hop.again()
			}
			await(t, name, func() bool {
				_, _ = s.msa("queue", "retry", "--all") // at once, not when the hop is next probed
				return hop.copies(name) > 0 && s.delivered(id)
			})
			doubt := at == atEnd || at == atDATA && sig == syscall.SIGSTOP // the message was in its buffers
			if n := hop.copies(name); n > 1 && !doubt || n > 2 {
				t.Errorf("%s: %d copies", name, n)
			}
		}
	}
}

// delivered tells whether the log says so.
func (s *server) delivered(id string) bool {
	for line := range strings.Lines(s.log.String()) {
		if strings.Contains(line, id) && strings.Contains(line, "delivery delivered") {
			return true
		}
	}
	return false
}
