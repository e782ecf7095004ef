package app

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/running"
)

func asked[A any](in *instance, method, path string, request any) A {
	in.t.Helper()
	body := ""
	if request != nil {
		b, err := json.Marshal(request)
		if err != nil {
			in.t.Fatal(err)
		}
		body = string(b)
	}
	status, answer := in.admin(method, path, body)
	if status != http.StatusOK {
		in.t.Fatalf("%s: %d %s", path, status, answer)
	}
	return jsonOf[A](in.t, answer)
}

// How it goes: what was counted, what lies in the spool and since when, certificates and sessions.
func TestAdminNow(t *testing.T) {
	in := newInstance(t)
	in.mail.sink = failing(errors.New("connection refused"))
	in.load()
	before := asked[adminapi.Now](in, http.MethodGet, "/msa/now", nil)
	c := in.session()
	id := c.submit("bob@example.net")
	c.do("MAIL FROM:<mallory@example.org>", "550")
	in.await("what became of it", func() bool {
		now := asked[adminapi.Now](in, http.MethodGet, "/msa/now", nil)
		grew := func(of func(adminapi.Tally) int) bool {
			sum := func(n adminapi.Now) (all int) {
				for _, m := range n.Minutes {
					all += of(m.Tally)
				}
				return all
			}
			return sum(now) == sum(before)+1
		}
		return len(now.Minutes) == 61 && grew(func(c adminapi.Tally) int { return c.Accepted }) && grew(func(c adminapi.Tally) int { return c.Deferred }) && grew(func(c adminapi.Tally) int { return c.Refused })
	})
	now := asked[adminapi.Now](in, http.MethodGet, "/msa/now", nil)
	if len(now.Spools) != 1 || now.Spools[0].Messages != 1 || now.Spools[0].OldestID != id || now.Spools[0].Oldest.IsZero() || now.Spools[0].Error != "" {
		t.Errorf("%+v", now.Spools)
	}
	if len(now.Certificates) != 1 || now.Certificates[0].Hostname != "msa.example.org" || now.Certificates[0].NotAfter.IsZero() || now.Certificates[0].Error != "" {
		t.Errorf("%+v", now.Certificates)
	}
	if !now.Ready || len(now.Sessions) != 1 || now.Sessions[0].Open != 1 {
		t.Errorf("%+v %+v", now.Health, now.Sessions)
	}
}

// Who is refused is seen, by network, user and rule; a block can be seen and lifted.
func TestAdminGuesses(t *testing.T) {
	in := newInstance(t)
	connect := in.overTCP(map[string]any{"failures": 3, "delay": "1ms"})
	for range 3 {
		connect().do("AUTH PLAIN "+b64("\x00alice@example.org\x00guess"), "535")
	}
	connect().do("AUTH PLAIN "+b64("\x00alice@example.org\x00secret"), "421")
	guesses := asked[adminapi.Guesses](in, http.MethodGet, "/msa/guesses", nil)
	if len(guesses.Blocks) != 1 || guesses.Blocks[0].Network != "127.0.0.1/32" || guesses.Blocks[0].User != "alice@example.org" || guesses.Blocks[0].Server != "main" {
		t.Errorf("%+v", guesses.Blocks)
	}
	found := false
	for _, r := range guesses.Refusals {
		found = found || r.User == "alice@example.org" && r.Moment == "AUTH" && r.Stranger && r.Network == "127.0.0.1/32" && r.Count >= 3 && r.Helo == "client.example"
	}
	if !found {
		t.Errorf("%+v", guesses.Refusals)
	}
	for _, wrong := range []string{`{"network":"here"}`, `{}`} {
		if status, body := in.admin(http.MethodPost, "/msa/guess-actions/lift", wrong); status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", wrong, status, body)
		}
	}
	if n := asked[adminapi.BlocksLifted](in, http.MethodPost, "/msa/guess-actions/lift", &adminapi.BlockLift{Network: "127.0.0.1", Server: "main", Reason: "it was me"}); n.Lifted != 1 {
		t.Errorf("%+v", n)
	}
	connect().do("AUTH PLAIN "+b64("\x00alice@example.org\x00secret"), "235")
	in.logged("block lifted", "it was me")
	in.await("the journal", func() bool {
		facts := in.facts(journal.Query{What: []journal.Kind{journal.Unblocked}})
		return len(facts) == 1 && facts[0].Text == "127.0.0.1: it was me" && facts[0].By != ""
	})
}

// A test message is submitted as a client does it, whatever listens where, and its dialogue is told without the password.
func TestAdminTry(t *testing.T) {
	in := newInstance(t)
	in.load()
	try := func(q adminapi.TryMessage) adminapi.TriedMessage {
		t.Helper()
		return asked[adminapi.TriedMessage](in, http.MethodPost, "/msa/try/message", &q)
	}
	for _, starttls := range []bool{false, true} {
		a := try(adminapi.TryMessage{Server: "main", StartTLS: starttls, User: "alice@example.org", Password: "secret", To: []string{"bob@example.net"}, Subject: "hello"})
		said := strings.Join(a.Dialogue, "\n")
		if a.ID == "" || a.Error != "" || !strings.Contains(said, "C: MAIL FROM:<alice@example.org>") || strings.Contains(said, "secret") || strings.Contains(said, b64("\x00alice@example.org\x00secret")) || strings.Contains(said, "STARTTLS") != starttls {
			t.Errorf("starttls %v: %+v", starttls, a)
		}
	}
	if got := in.arrived(2); !strings.Contains(got[0].message, "Subject: hello\r\n") {
		t.Errorf("%s", got[0].message)
	}
	if a := try(adminapi.TryMessage{Server: "main", User: "alice@example.org", Password: "wrong", To: []string{"bob@example.net"}}); a.ID != "" || !strings.Contains(a.Error, "535") {
		t.Errorf("%+v", a)
	}
	for _, wrong := range []adminapi.TryMessage{
		{Server: "none", User: "a@example.org", To: []string{"b@example.net"}}, {Server: "main", User: "a@example.org"},
		{Server: "main", User: "a@example.org", To: []string{"b@example.net>\r\nDATA"}}, {Server: "main", User: "a@example.org", To: []string{"b@example.net"}, Subject: "x\r\nBcc: y"},
	} {
		b, _ := json.Marshal(wrong)
		if status, body := in.admin(http.MethodPost, "/msa/try/message", string(b)); status != http.StatusBadRequest {
			t.Errorf("%+v: %d %s", wrong, status, body)
		}
	}
}

// Words are found wherever they are, all of them, in queue and journal.
func TestAdminWords(t *testing.T) {
	in := newInstance(t)
	in.mail.sink = failing(errors.New("connection refused"))
	in.load()
	c := in.session()
	c.submit("bob@example.net")
	c.submit("carol@example.net")
	in.await("two failures on record", func() bool {
		return len(asked[adminapi.QueuePage](in, http.MethodGet, "/msa/queue?error=refused", nil).Entries) == 2
	})
	for query, want := range map[string]int{"word=CAROL": 1, "word=carol&word=refused": 1, "word=carol&word=bob": 0, "word=alice": 2, "sender=%3C%3E": 0} {
		if page := asked[adminapi.QueuePage](in, http.MethodGet, "/msa/queue?"+query, nil); len(page.Entries) != want {
			t.Errorf("queue %s: %d", query, len(page.Entries))
		}
	}
	for query, want := range map[string]int{"word=CAROL": 2, "word=carol&word=refused": 1, "word=carol&word=bob": 0, "word=alice&state=accepted": 2} {
		if page := asked[adminapi.HistoryPage](in, http.MethodGet, "/msa/history?"+query, nil); len(page.Facts) != want {
			t.Errorf("history %s: %d", query, len(page.Facts))
		}
	}
}

// Who asks within the process is whom the log and the journal name, whatever the request says; and may read messages only if that
// was said, or the configuration says so.
func TestAdminInProcess(t *testing.T) {
	in := newInstance(t)
	in.mail.sink = failing(errors.New("connection refused"))
	in.load()
	id := in.session().submit("bob@example.net")
	app, ok := running.App[running.Admin]()
	if !ok {
		t.Fatal("no app")
	}
	ask := func(method, path, body string, content bool) (*httptest.ResponseRecorder, error) {
		w, r := httptest.NewRecorder(), httptest.NewRequest(method, path, strings.NewReader(body))
		r.Header.Set(adminapi.OperatorHeader, "somebody else")
		return w, app.ServeAdmin(w, r, running.Operator{Name: "web", Content: content})
	}
	if _, err := ask(http.MethodPost, "/msa/queue-actions/hold", `{"ids":["`+id+`"]}`, false); err != nil {
		t.Fatal(err)
	}
	facts := in.facts(journal.Query{What: []journal.Kind{journal.Held}})
	if len(facts) != 1 || facts[0].By != "web" {
		t.Errorf("%+v", facts)
	}
	if _, err := ask(http.MethodGet, "/msa/none", "", false); err == nil {
		t.Error("there is /msa/none")
	}
	if _, err := ask(http.MethodGet, "/msa/queue-content/"+id, "", false); err == nil {
		t.Error("everybody reads")
	}
	if _, opens := any(in.mail.spool).(queue.MessageOpener); opens {
		if w, err := ask(http.MethodGet, "/msa/queue-content/"+id, "", true); err != nil || w.Body.Len() == 0 {
			t.Error(err)
		}
	}
}

// The configuration in force has its defaults and what was added, and none of its secrets.
func TestAdminServers(t *testing.T) {
	in := newInstance(t)
	in.load(with("routes", []any{map[string]any{"name": "out", "sink": map[string]any{"module": "fake", "world": in.mail.id, "name": "sink"}}}))
	answer := asked[adminapi.Servers](in, http.MethodGet, "/msa/servers", nil)
	if len(answer.Servers) != 1 || answer.Servers[0].Name != "main" || answer.Servers[0].Policies[0] != "sender_identity" || answer.Servers[0].Routes[0] != "out" || answer.Servers[0].Backends[0] != "fake" {
		t.Errorf("%+v", answer.Servers)
	}
	text := string(answer.App)
	for _, want := range []string{`"module":"fake"`, `"world":"`, `"grace_period":"5s"`, `"hostname":"msa.example.org"`, `"workers":256`, `"module":"memory"`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
}
