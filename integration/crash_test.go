package integration

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Accepted means durable (docs/dev/architecture.md, decision 5): under load the process is killed at
// random moments, in its start as well, and every message that was answered 250 is
// delivered whole. What was not answered may be delivered, but never a half of it.
func TestCrash(t *testing.T) {
	t.Parallel()
	const clients = 6
	rounds := often(20, 6)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	s := newServer(t)
	s.writeUsers("")
	s.write("Caddyfile", s.caddyfile(layout{msa: "queue {\n retry 100ms\n}"}))
	s.run()
	trust := s.tlsConfig()

	answered := make(map[string]bool) // by subject
	var mu sync.Mutex
	began := time.Now()
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(answered)
	}
	for round := range rounds {
		before := count()
		var load sync.WaitGroup
		for n := range clients {
			load.Go(func() {
				for k := 0; ; k++ {
					ids, err := crashSession(s, trust, fmt.Sprintf("%d-%d-%d", round, n, k))
					mu.Lock()
					for _, id := range ids {
						answered[id] = true
					}
					mu.Unlock()
					if err == nil {
						continue
					}
					if reply := new(unexpected); errors.As(err, &reply) {
						t.Errorf("round %d: %v", round, err)
					}
					return
				}
			})
		}
		if round%2 == 0 { // a load, on a busy machine too
			await(t, "two answered messages", func() bool { return count() >= before+2 })
		}
		time.Sleep(time.Duration(20+random.IntN(480)) * time.Millisecond)
		s.kill()
		load.Wait()
		if round%3 == 0 {
			killedAtStart(t, s, time.Duration(random.IntN(300))*time.Millisecond)
		}
		s.run()
	}
	elapsed := time.Since(began)

	have := make(map[string]int)
	seen := make(map[string]bool)
	look := func() (missing int) {
		names, err := filepath.Glob(filepath.Join(s.dir, "mail/example.net/bob/new/*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if seen[name] {
				continue
			}
			seen[name] = true
			message, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			id := subject(message)
			if !bytes.Equal(untraced(t, message), []byte(crashMessage(id))) {
				t.Errorf("%s was delivered as %d other octets", id, len(message))
			}
			have[id]++
		}
		for id := range answered {
			if have[id] == 0 {
				missing++
			}
		}
		return missing
	}
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		missing := look()
		if missing == 0 {
			break
		}
		if time.Now().After(deadline) {
			for id := range answered {
				if have[id] == 0 {
					t.Errorf("%s was answered 250 and not delivered", id)
				}
			}
			break
		}
	}
	t.Logf("%d rounds in %s: %d messages answered, %d delivered without an answer, %d more than once", rounds, elapsed.Round(time.Millisecond),
		len(answered), len(have)-len(answered), len(seen)-len(have))
	if len(answered) < rounds {
		t.Errorf("%d messages are not a load", len(answered))
	}

	// The journal has each message once, and one end of each.
	await(t, "an empty queue", func() bool {
		_, body := s.adminRequest("GET", "/msa/queue", "")
		return strings.Contains(body, `"entries":[]`)
	})
	look() // what nobody was answered may have come last
	s.kill()
	accepted := checkFates(t, readJournal(t, filepath.Join(s.dir, "spool")), func(string) bool { return false })
	if len(accepted) != len(have) {
		t.Errorf("%d messages were accepted, and %d delivered", len(accepted), len(have))
	}
}

// killedAtStart starts the process and kills it in the midst of recovery, perhaps.
func killedAtStart(t *testing.T, s *server, after time.Duration) {
	t.Helper()
	cmd := exec.Command(binary, "run", "--config", filepath.Join(s.dir, "Caddyfile"))
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "HOME="+s.dir, "XDG_DATA_HOME="+s.dir, "XDG_CONFIG_HOME="+s.dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(after)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// crashSession submits two messages and returns those that were answered. Its error
// is an unexpected when the server was alive and refused something.
func crashSession(s *server, trust *tls.Config, id string) (answered []string, err error) {
	c, err := s.as(trust, "alice@example.org")
	if err != nil {
		return nil, err
	}
	defer c.close()
	for n := range 2 {
		one := fmt.Sprintf("%s-%d", id, n)
		if _, err := c.submit("alice@example.org", "bob@example.net", crashMessage(one)); err != nil {
			return answered, err
		}
		answered = append(answered, one)
	}
	return answered, nil
}

// crashMessage is small, or so large that the spool keeps it in a file of its own, as
// its id has it.
func crashMessage(id string) string {
	size := 10
	if strings.HasSuffix(id, "5-1") {
		size = 10000
	}
	return letter(id) + strings.Repeat(fmt.Sprintf("%-40s\r\n", id), size)
}
