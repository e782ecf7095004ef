package integration

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"mime/multipart"
	"net/mail"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
)

// isDocument tells whether the message of a subject comes as JSON: every third.
func isDocument(subject string) bool {
	n, err := strconv.Atoi(subject[strings.LastIndexByte(subject, '-')+1:])
	return err == nil && n%3 == 1
}

// crashContent is an attachment's, of half the messages beyond what is held in memory.
func crashContent(subject string) []byte {
	return bytes.Repeat([]byte(subject+"\x00\xff"), 2000*(1+len(subject)%2*10))
}

// crashDocument is a message as JSON.
func crashDocument(subject string) string {
	b, err := json.Marshal(map[string]any{"from": "alice@example.org", "to": "bob@example.net", "subject": subject, "text": subject,
		"attachments": []any{map[string]any{"content": crashContent(subject)}}})
	if err != nil {
		panic(err)
	}
	return string(b)
}

// isWhole looks whether a message is what was made of the document.
func isWhole(octets []byte, subject string) error {
	m, err := mail.ReadMessage(bytes.NewReader(octets))
	if err != nil {
		return err
	}
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		return err
	}
	parts := multipart.NewReader(m.Body, params["boundary"])
	for n, want := range []string{subject, string(crashContent(subject))} {
		part, err := parts.NextPart()
		if err != nil {
			return err
		}
		var r io.Reader = part // the text is quoted-printable, which the reader decodes
		if n == 1 {
			r = base64.NewDecoder(base64.StdEncoding, part)
		}
		if got, err := io.ReadAll(r); err != nil || string(got) != want {
			return fmt.Errorf("part %d has %d octets: %w", n, len(got), err)
		}
	}
	_, err = parts.NextPart()
	if !errors.Is(err, io.EOF) {
		return errors.New("there are more than two parts")
	}
	return nil
}

// Accepted means durable by HTTP too, as it is and as JSON: under load the process is killed at random moments, and every message that was
// answered 202 is delivered whole. Who heard nothing sends again with the same Idempotency-Key, and of each key
// one message is accepted.
func TestHTTPSubmitCrash(t *testing.T) {
	t.Parallel()
	const clients = 4
	rounds := often(8, 3)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	w := newSubmitSite(t, layout{msa: "queue {\n retry 100ms\n}"})
	w.runWeb()

	var mu sync.Mutex
	answered := make(map[string]string) // queue id by subject
	var unheard []string
	post := func(subject string) bool {
		target, kind, body := sendTo("bob@example.net"), "message/rfc822", crashMessage(subject)
		if isDocument(subject) {
			target, kind, body = "/send/", "application/json", crashDocument(subject)
		}
		a, err := w.try(alice, "POST", target, strings.NewReader(body), "Content-Type", kind, "Idempotency-Key", subject)
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
			switch {
			case have[id]:
			case isDocument(id):
				if err := isWhole(message, id); err != nil {
					t.Errorf("%s was delivered as %d octets: %v", id, len(message), err)
				}
			case !bytes.Equal(untraced(t, message), []byte(crashMessage(id))):
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
