package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// act does something to messages by the admin API, and returns with which it was done.
func (s *server) act(action string, ids ...string) (done []string) {
	request, _ := json.Marshal(map[string]any{"ids": ids})
	resp, err := http.Post("http://"+s.admin+"/msa/queue-actions/"+action, "application/json", bytes.NewReader(request))
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	var answer struct{ Done []string }
	if json.NewDecoder(resp.Body).Decode(&answer) != nil {
		return nil
	}
	return answer.Done
}

// The process is killed at random moments while messages are submitted, delivered, bounced, held and
// deleted: nothing that was accepted is lost, nothing that was deleted comes back, nothing
// that is held is delivered.
func TestCrashOfOperator(t *testing.T) {
	t.Parallel()
	const clients = 4
	rounds := often(8, 3)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	s := newServer(t)
	s.writeUsers("")
	gate := filepath.Join(s.dir, "open")
	// Nothing is delivered before the gate opens, so that all can be held and deleted.
	s.write("Caddyfile", strings.ReplaceAll(s.caddyfile(layout{msa: `
	@bounces recipient_domain fails.example
	deliver @bounces pipe /bin/sh -c "exit 67"
	@waits recipient_domain waits.example
	deliver @waits pipe /bin/sh -c "test -e ` + gate + ` || exit 75; exec cat > $DIR/waits-$$MSA_KEY" {
		name waits
	}
	@also recipient_domain also.example
	deliver @also pipe /bin/sh -c "test -e ` + gate + ` || exit 75; exec cat > $DIR/also-$$MSA_KEY" {
		name also
	}
	deliver maildir $DIR/mail/{msa.recipient.domain}/{msa.recipient.local}
	queue {
		retry 200ms
	}`}), "$$MSA_KEY", "$MSA_KEY"))
	s.run()
	trust := s.tlsConfig()
	var mu sync.Mutex
	accepted := map[string]string{} // queue id to kind
	// Those whose action was not answered are in doubt: it may have been done when the process was killed.
	held, deleted, doubt := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for round := 0; round < rounds || (len(held) == 0 || len(deleted) == 0) && round < 5*rounds; round++ { // a busy machine needs more
		var load sync.WaitGroup
		for n := range clients {
			load.Go(func() {
				for k := 0; ; k++ {
					kind := []string{"waits.example", "fails.example", "example.net"}[k%3]
					c, err := s.as(trust, "alice@example.org")
					if err != nil {
						return
					}
					err = c.envelope("alice@example.org", "bob@"+kind)
					if err == nil && kind == "waits.example" { // a job in each of two lanes
						err = c.do("250", "RCPT TO:<bob@also.example>")
					}
					id := ""
					if err == nil {
						id, err = c.data(letter(fmt.Sprintf("%d-%d-%d", round, n, k)))
					}
					c.close()
					if err != nil {
						return
					}
					mu.Lock()
					accepted[id] = kind
					mu.Unlock()
					if kind != "waits.example" {
						continue
					}
					turn := (k/3 + n + round) % 4 // each is the first of a client: a busy machine takes few
					mu.Lock()
					doubt[id] = turn < 2
					mu.Unlock()
					switch turn {
					case 0:
						for _, id := range s.act("hold", id) {
							mu.Lock()
							held[id], doubt[id] = true, false
							mu.Unlock()
						}
					case 1:
						for _, id := range s.act("delete", id) {
							mu.Lock()
							deleted[id], doubt[id] = true, false
							mu.Unlock()
						}
					}
				}
			})
		}
		more := 1 + max(0, round-rounds+1) // a busy machine needs more time, too
		time.Sleep(time.Duration(more*(100+random.IntN(600))) * time.Millisecond)
		s.kill()
		load.Wait()
		s.run()
	}
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for id, kind := range accepted {
		if !deleted[id] && !held[id] {
			kinds[kind]++
		}
	}
	t.Logf("%d accepted, %d held, %d deleted: %v", len(accepted), len(held), len(deleted), kinds)
	if len(held) == 0 || len(deleted) == 0 {
		t.Error("nothing was held or deleted")
	}
	// delivered are the queue ids in the trace fields, or in bounces the subjects' messages.
	delivered := func() (ids, also map[string]bool, bounces int) {
		ids, also = map[string]bool{}, map[string]bool{}
		for _, pattern := range []string{"waits-*", "also-*", "mail/example.net/bob/new/*"} {
			all := ids
			if pattern == "also-*" {
				all = also
			}
			names, _ := filepath.Glob(filepath.Join(s.dir, pattern))
			for _, name := range names {
				if b, err := os.ReadFile(name); err == nil {
					if _, after, ok := bytes.Cut(b, []byte("with ESMTPSA id ")); ok && bytes.Contains(b, []byte("Hello.")) {
						id, _, _ := bytes.Cut(after, []byte("\r\n"))
						all[string(id)] = true
					}
				}
			}
		}
		names, _ := filepath.Glob(filepath.Join(s.dir, "mail/example.org/alice/new/*"))
		return ids, also, len(names)
	}
	missing := func() (lost []string) {
		ids, also, bounces := delivered()
		for id, kind := range accepted {
			if kind != "fails.example" && (!ids[id] || kind == "waits.example" && !also[id]) && !held[id] && !deleted[id] && !doubt[id] {
				lost = append(lost, id)
			}
		}
		if bounces < kinds["fails.example"] {
			lost = append(lost, fmt.Sprintf("%d bounces", kinds["fails.example"]-bounces))
		}
		return lost
	}
	for deadline := time.Now().Add(3 * time.Minute); len(missing()) > 0; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("accepted and neither delivered nor bounced: %v", missing())
		}
	}
	ids, also, _ := delivered()
	for id := range deleted {
		if ids[id] || also[id] {
			t.Errorf("%s was deleted and delivered", id)
		}
	}
	for id := range held {
		if ids[id] || also[id] {
			t.Errorf("%s is held and was delivered", id)
		}
	}
	listed := s.mustMSA("queue", "list", "--state", "held", "--json", "--limit", "1000")
	for id := range held {
		if !strings.Contains(listed, id) {
			t.Errorf("%s is held no more", id)
		}
	}
	for id := range deleted {
		if strings.Contains(s.mustMSA("queue", "list", "--json", "--limit", "1000"), id) {
			t.Errorf("%s was deleted and is back", id)
		}
	}
	if out := s.mustMSA("spool", "check"); !strings.Contains(out, "0 not whole") {
		t.Error(out)
	}
}
