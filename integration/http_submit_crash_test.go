package integration

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
)

// Accepted means durable by HTTP too: under load the process is killed at random moments, and every message that was
// answered 202 is delivered whole. Who heard nothing sends again with the same Idempotency-Key, and of each key
// one message is accepted.
func TestHTTPSubmitCrash(t *testing.T) {
	t.Parallel()
	const rounds, clients = 8, 4
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	w := newSubmitSite(t, layout{msa: "queue {\n retry 100ms\n}"})
	w.runWeb()

	var mu sync.Mutex
	answered := make(map[string]string) // queue id by subject
	var unheard []string
	post := func(subject string) bool {
		a, err := w.try(alice, "POST", sendTo("bob@example.net"), strings.NewReader(crashMessage(subject)), "Idempotency-Key", subject)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err != nil || a.status == 503 || a.status == 502:
			unheard = append(unheard, subject)
			return false
		case a.status != 202:
			t.Errorf("%s: %+v", subject, a)
		case answered[subject] != "" && answered[subject] != a.ID:
			t.Errorf("%s is %s, and %s", subject, answered[subject], a.ID)
		}
		answered[subject] = a.ID
		return true
	}
	for round := range rounds {
		var load sync.WaitGroup
		for n := range clients {
			load.Go(func() {
				for k := 0; post(fmt.Sprintf("%d-%d-%d", round, n, k)); k++ {
				}
			})
		}
		time.Sleep(time.Duration(20+random.IntN(300)) * time.Millisecond)
		w.kill()
		load.Wait()
		w.client.CloseIdleConnections()
		w.runWeb()
	}
	again := unheard
	unheard = nil
	for _, subject := range again {
		if !post(subject) {
			t.Errorf("%s is not accepted", subject)
		}
	}
	have := make(map[string]bool)
	w.await("every message", func() bool {
		names, _ := filepath.Glob(filepath.Join(w.dir, "mail/example.net/bob/new/*"))
		for _, name := range names {
			message, err := os.ReadFile(name)
			if err != nil {
				return false
			}
			id := subject(message)
			if !have[id] && !bytes.Equal(untraced(t, message), []byte(crashMessage(id))) {
				t.Errorf("%s was delivered as %d other octets", id, len(message))
			}
			have[id] = true
		}
		for subject := range answered {
			if !have[subject] {
				return false
			}
		}
		return true
	})
	await(t, "an empty queue", func() bool {
		_, body := w.adminRequest("GET", "/msa/queue", "")
		return strings.Contains(body, `"entries":[]`)
	})
	w.kill()
	accepted := 0
	for _, f := range readJournal(t, filepath.Join(w.dir, "spool")) {
		if f.What == journal.Accepted {
			accepted++
		}
	}
	t.Logf("%d messages answered, %d of them sent again, %d accepted", len(answered), len(again), accepted)
	if accepted != len(answered) || len(answered) < rounds {
		t.Errorf("%d messages were accepted for %d keys", accepted, len(answered))
	}
}
