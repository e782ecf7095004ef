package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/postgres"
)

// fateHop is a next hop whose answer is in the address: nobody.* and bad.example are refused, other.example is put off
// once, gate.example until the gate opens, and of copies every third.
type fateHop struct {
	mu     sync.Mutex
	open   bool
	put    map[string]bool
	copies int
	taken  map[string]int // by recipient, of which each message has its own
}

func newFateHop(t *testing.T) (h *fateHop, address string) {
	t.Helper()
	h = &fateHop{put: make(map[string]bool), taken: make(map[string]int)}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &fateSession{h: h}, nil }))
	s.Domain, s.ErrorLog = "fates.example", quietLog{}
	t.Cleanup(func() { _ = s.Close() })
	go func() { _ = s.Serve(ln) }()
	return h, ln.Addr().String()
}

// answer is nil for what is taken.
func (h *fateHop) answer(to string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	domain := to[strings.LastIndex(to, "@")+1:]
	later := false
	switch {
	case strings.HasPrefix(to, "nobody."), domain == "bad.example":
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "No such user"}
	case domain == "other.example":
		later = !h.put[to]
		h.put[to] = true
	case domain == "gate.example":
		later = !h.open
	case domain == "copies.example":
		h.copies++
		later = h.copies%3 == 0
	}
	if later {
		return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 2, 1}, Message: "Not now"}
	}
	return nil
}

type fateSession struct {
	h     *fateHop
	rcpts []string
}

func (*fateSession) Mail(string, *smtp.MailOptions) error { return nil }
func (s *fateSession) Reset()                             { s.rcpts = nil }
func (*fateSession) Logout() error                        { return nil }

func (s *fateSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	err := s.h.answer(to)
	if err == nil {
		s.rcpts = append(s.rcpts, to)
	}
	return err
}

func (s *fateSession) Data(r io.Reader) error {
	if _, err := io.Copy(io.Discard, r); err != nil {
		return err
	}
	time.Sleep(time.Duration(rand.IntN(10)) * time.Millisecond)
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	for _, to := range s.rcpts {
		s.h.taken[to]++
	}
	return nil
}

// fatesConfig has a lane for each kind of fate, and two copies of everything.
func fatesConfig(hop string) layout {
	text := `
	queue {
		workers 16
		retry   200ms
	}
	copy directory $DIR/copies {
		name archive
	}
	copy relay ` + hop + ` {
		name second
		to   archive@copies.example
		tls  off
	}`
	for _, name := range []string{"good", "other", "bad", "gate"} {
		text += fmt.Sprintf(`
	@%s recipient_domain %s.example
	deliver @%s relay %s {
		name %s
		tls  off
	}`, name, name, name, hop, name)
	}
	return layout{msa: text + `
	deliver maildir $DIR/mail/{msa.recipient.domain}/{msa.recipient.local}`}
}

// fates is what clients and an operator did, and what they were told.
type fates struct {
	s *server

	mu      sync.Mutex
	to      map[string][]string        // recipients of messages that were answered by 250
	done    map[string]map[string]bool // ids for which an action of the operator was confirmed
	unsure  map[string]bool            // ids for which one was not
	reached int                        // the round's message, of all clients', that is the furthest
	working sync.WaitGroup
}

// eachFate is the number of a client's message from which on all fates have been.
const eachFate = 6

// begin has clients submit, each message to recipients in several lanes, until the server dies. Of those that wait at the
// gate one is held, one is held and released, one is deleted.
func (f *fates) begin(round int) {
	trust := f.s.tlsConfig()
	f.reached = 0
	for n := range 4 {
		f.working.Go(func() {
			for k := 0; ; k++ {
				c, err := f.s.as(trust, "alice@example.org")
				if err != nil {
					return
				}
				err = f.one(c, fmt.Sprintf("m%d-%d-%d", round, n, k), k)
				c.close()
				if reply := new(unexpected); errors.As(err, &reply) && strings.HasPrefix(reply.got, "451") {
					time.Sleep(20 * time.Millisecond) // the database is away
				} else if err != nil {
					return
				}
			}
		})
	}
}

func (f *fates) one(c *talker, name string, k int) error {
	to := []string{name + "@good.example"}
	for bit, more := range []string{"nobody." + name + "@good.example", name + "@other.example", name + "@bad.example"} {
		if k>>bit&1 != 0 {
			to = append(to, more)
		}
	}
	waits := k%3 == 0
	if waits {
		to = append(to, name+"@gate.example")
	}
	if err := c.do("250", "MAIL FROM:<alice@example.org>"); err != nil {
		return err
	}
	for _, r := range to {
		if err := c.do("250", "RCPT TO:<"+r+">"); err != nil {
			return err
		}
	}
	id, err := c.data(letter(name))
	if err != nil {
		return err
	}
	f.mu.Lock()
	f.to[id], f.reached = to, max(f.reached, k)
	f.mu.Unlock()
	if !waits {
		return nil
	}
	switch k / 3 % 4 {
	case 0:
		f.act("hold", id)
	case 1:
		f.act("hold", id)
		f.act("release", id)
	case 2:
		f.act("delete", id)
	}
	return nil
}

func (f *fates) act(action, id string) {
	done := slices.Contains(f.s.act(action, id), id)
	f.mu.Lock()
	defer f.mu.Unlock()
	if !done {
		f.unsure[id] = true
		return
	}
	if f.done[action] == nil {
		f.done[action] = make(map[string]bool)
	}
	f.done[action][id] = true
}

// settle opens the gate, releases all that is held, and waits until nothing is left.
func (f *fates) settle(hop *fateHop) {
	hop.mu.Lock()
	hop.open = true
	hop.mu.Unlock()
	ids := func(query string) (ids []string) {
		_, body := f.s.adminRequest(http.MethodGet, "/msa/queue?limit=1000"+query, "")
		var page struct{ Entries []struct{ ID string } }
		if json.Unmarshal([]byte(body), &page) != nil {
			return []string{"an answer: " + body}
		}
		for _, e := range page.Entries {
			ids = append(ids, e.ID)
		}
		return ids
	}
	awaitFor(f.s.t, 5*time.Minute, "an empty queue", func() bool {
		if held := ids("&state=held"); len(held) > 0 {
			f.s.act("release", held...)
		}
		return len(ids("")) == 0
	})
}

// history is the whole journal, the oldest fact first.
func (s *server) history() (all []journal.Fact) {
	s.t.Helper()
	for dec := json.NewDecoder(strings.NewReader(s.mustMSA("history", "--all", "--json"))); dec.More(); {
		var f journal.Fact
		if err := dec.Decode(&f); err != nil {
			s.t.Fatal(err)
		}
		all = append(all, f)
	}
	slices.Reverse(all)
	return all
}

// fateRounds is how often the process is killed: MSA_CRASH_ROUNDS=100.
func fateRounds() int {
	if n, err := strconv.Atoi(os.Getenv("MSA_CRASH_ROUNDS")); err == nil {
		return n
	}
	return often(5, 3)
}

// However often the process is killed, in its start as well, and its database, each message that was answered 250 has
// been accepted once by the journal, and each of its recipients, in several lanes, delivered, refused and put off, has one end there,
// which is what the next hop knows. So has each copy. What the operator was told that it did is there too, and the
// sender has been told of each failure by one message that the journal knows.
func TestFatesThroughCrashes(t *testing.T) {
	t.Parallel()
	for _, spool := range []string{"file", "postgres"} {
		t.Run(spool, func(t *testing.T) {
			t.Parallel()
			testFatesThroughCrashes(t, spool)
		})
	}
}

func testFatesThroughCrashes(t *testing.T, spool string) {
	rounds := fateRounds()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	hop, address := newFateHop(t)
	s := newServer(t)
	s.writeUsers("")
	text := s.caddyfile(fatesConfig(address))
	var database *postgres.Server
	if spool == "postgres" {
		database = postgres.Start(t)
		text = strings.Replace(text, "spool file "+s.dir+"/spool",
			fmt.Sprintf("spool postgres %s {\n\tnode one\n\tlease %s\n\ttimeout %s\n}", database.DSN(), clusterLease, clusterTimeout), 1)
	}
	s.write("Caddyfile", text)
	s.run()
	f := &fates{s: s, to: make(map[string][]string), done: make(map[string]map[string]bool), unsure: make(map[string]bool)}
	for round := range rounds {
		f.begin(round)
		if database != nil && round%2 == 1 {
			time.Sleep(time.Duration(100+random.IntN(400)) * time.Millisecond)
			database.Kill()
			database.Start()
		}
		awaitFor(t, 3*time.Minute, "messages of each fate", func() bool { // on a busy machine they take a while
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.reached >= eachFate
		})
		time.Sleep(time.Duration(random.IntN(900)) * time.Millisecond)
		s.kill()
		f.working.Wait()
		if round%3 == 0 {
			killedAtStart(t, s, time.Duration(random.IntN(300))*time.Millisecond)
		}
		s.run()
	}
	f.settle(hop)
	facts := s.history()
	t.Logf("%d rounds: %d messages answered, %d held, %d released, %d deleted, %d actions unanswered; %d facts", rounds, len(f.to),
		len(f.done["hold"]), len(f.done["release"]), len(f.done["delete"]), len(f.unsure), len(facts))
	if len(f.to) < rounds {
		t.Errorf("%d messages are not a load", len(f.to))
	}
	f.compare(facts, hop)
}

// compare holds what the journal says to what clients, operator and next hop know.
func (f *fates) compare(facts []journal.Fact, hop *fateHop) {
	t := f.s.t.(*testing.T)
	accepted := checkFates(t, facts, func(string) bool { return false })
	had := make(map[journal.Kind]map[string]bool) // ids of messages that had such a fact
	ends := make(map[fate]journal.Kind)
	told := make(map[string]int) // notifications by those that tell of them
	bounces := make(map[string]bool)
	mine := make(map[string]string) // messages of clients by their first recipients
	for i := range facts {
		fact := &facts[i]
		if had[fact.What] == nil {
			had[fact.What] = make(map[string]bool)
		}
		had[fact.What][fact.ID] = true
		switch {
		case fact.What == journal.Accepted && fact.Bounce:
			bounces[fact.ID] = true
		case fact.What == journal.Accepted:
			if first := fact.Recipients[0]; mine[first] != "" {
				t.Errorf("%s and %s are one message", mine[first], fact.ID)
			} else {
				mine[first] = fact.ID
			}
		case fact.What == journal.Bounced:
			told[fact.Notification]++
		case fact.What.Final():
			for _, r := range fact.Recipients {
				key := fate{fact.ID, copyOf(fact), r}
				if ends[key] != journal.Delivered { // beside which there may be Deleted
					ends[key] = fact.What
				}
			}
		}
	}
	for id, to := range f.to {
		if !accepted[id] {
			t.Errorf("%s was answered 250, and the journal has nothing of it", id)
		}
		if mine[to[0]] != id {
			t.Errorf("%s to %s is %q in the journal", id, to[0], mine[to[0]])
		}
	}
	for key, what := range ends {
		f.compareEnd(key, what, had[journal.Deleted][key.id], hop)
	}
	if len(had[journal.Deferred]) == 0 || len(had[journal.Delivered]) == 0 || len(had[journal.Bounced]) == 0 {
		t.Error("a journal without messages that were put off, delivered and bounced is no proof")
	}
	copies := make(map[string]int)
	for key := range ends {
		if key.copy != "" {
			copies[key.id+key.copy]++
		}
	}
	for _, id := range mine {
		for _, name := range []string{"archive", "second"} {
			if copies[id+name] == 0 && !had[journal.Deleted][id] {
				t.Errorf("%s: copy %s has no end", id, name)
			}
		}
		if had[journal.Failed][id] && !had[journal.Deleted][id] && !had[journal.Bounced][id] {
			t.Errorf("%s failed, and the sender was not told", id)
		}
	}
	for id := range told {
		if told[id] != 1 || !bounces[id] {
			t.Errorf("%d facts tell of the notification %s, which was accepted: %v", told[id], id, bounces[id])
		}
	}
	for id := range bounces {
		if told[id] == 0 {
			t.Errorf("the notification %s tells of nothing", id)
		}
	}
	for action, what := range map[string]journal.Kind{"hold": journal.Held, "release": journal.Released, "delete": journal.Deleted} {
		for id := range f.done[action] {
			if !had[what][id] {
				t.Errorf("%s: the operator was told that %s is done, and the journal has nothing of it", id, action)
			}
		}
	}
	for id := range had[journal.Deleted] {
		if !f.done["delete"][id] && !f.unsure[id] && f.to[id] != nil {
			t.Errorf("%s was deleted by nobody", id)
		}
	}
	archived, _ := filepath.Glob(filepath.Join(f.s.dir, "copies", "*.eml"))
	if len(archived) < len(f.to)-len(had[journal.Deleted]) {
		t.Errorf("%d copies are in the directory", len(archived))
	}
}

// compareEnd holds one end to what the address stands for, and to what the next hop knows.
func (f *fates) compareEnd(key fate, what journal.Kind, deleted bool, hop *fateHop) {
	if !strings.HasSuffix(key.rcpt, ".example") {
		return // a notification's
	}
	want := journal.Delivered
	if key.copy == "" && (strings.HasPrefix(key.rcpt, "nobody.") || strings.HasSuffix(key.rcpt, "@bad.example")) {
		want = journal.Failed
	}
	if what != want && !(deleted && what == journal.Deleted) {
		f.s.t.Errorf("%s is %s, want %s", key, what, want)
	}
	hop.mu.Lock()
	defer hop.mu.Unlock()
	if key.copy == "" && what == journal.Delivered && hop.taken[key.rcpt] == 0 {
		f.s.t.Errorf("%s was delivered, and the next hop does not know", key)
	}
}
