package integration

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
)

// ledger is a mail server that knows which message came to whom how often. It takes a moment for each, and puts some off
// once.
type ledger struct {
	mu     sync.Mutex
	copies map[string]int // by subject and recipient
	put    map[string]bool
}

func newLedger(t *testing.T, address string) *ledger {
	t.Helper()
	g := &ledger{copies: make(map[string]int), put: make(map[string]bool)}
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &ledgerSession{g: g}, nil }))
	s.Domain, s.ErrorLog = "ledger.example", quietLog{}
	t.Cleanup(func() { _ = s.Close() })
	go func() { _ = s.Serve(ln) }()
	return g
}

type quietLog struct{}

func (quietLog) Printf(string, ...any) {}
func (quietLog) Println(...any)        {}

type ledgerSession struct {
	g     *ledger
	rcpts []string
}

func (*ledgerSession) Mail(string, *smtp.MailOptions) error { return nil }
func (s *ledgerSession) Reset()                             { s.rcpts = nil }
func (*ledgerSession) Logout() error                        { return nil }

func (s *ledgerSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.rcpts = append(s.rcpts, to)
	return nil
}

func (s *ledgerSession) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
	s.g.mu.Lock()
	defer s.g.mu.Unlock()
	id := subject(b)
	for _, to := range s.rcpts {
		if key := id + " " + to; len(s.g.put)%7 == 0 && !s.g.put[key] {
			s.g.put[key] = true
			return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "Not now"}
		}
		s.g.put[id+" "+to] = true
	}
	for _, to := range s.rcpts {
		s.g.copies[id+" "+to]++
	}
	return nil
}

// count returns how many of the wanted are missing, and how many came more than once.
func (g *ledger) count(wanted map[string]bool) (missing, more int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for key := range wanted {
		if g.copies[key] == 0 {
			missing++
		}
	}
	for _, n := range g.copies {
		more += n - 1
	}
	return missing, more
}

// toManyLanes is clients that submit messages, each to recipients in several lanes.
type toManyLanes struct {
	s       *server
	stop    chan struct{}
	clients sync.WaitGroup

	mu     sync.Mutex
	wanted map[string]bool // answered by 250: subjects and recipients
}

const (
	manyLanes      = 40
	lanesOfMessage = 5
)

// begin has them submit until end, or until the server dies.
func (m *toManyLanes) begin(round int) {
	trust := m.s.tlsConfig()
	m.stop = make(chan struct{})
	for n := range 3 {
		m.clients.Go(func() {
			for k := 0; ; k++ {
				c, err := m.s.as(trust, "alice@example.org")
				for i := 0; err == nil && i < 10; i++ {
					select {
					case <-m.stop:
						c.close()
						return
					default:
					}
					err = m.one(c, fmt.Sprintf("%d-%d-%d-%d", round, n, k, i))
				}
				if err != nil {
					if reply := new(unexpected); errors.As(err, &reply) {
						m.s.t.Errorf("round %d: %v", round, err)
					}
					return
				}
				c.close()
			}
		})
	}
}

// copies is how many messages to a recipient have been answered by 250.
func (m *toManyLanes) copies() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.wanted)
}

func (m *toManyLanes) one(c *talker, id string) error {
	err := c.do("250", "MAIL FROM:<alice@example.org>")
	var to []string
	for i := 0; err == nil && i < lanesOfMessage; i++ {
		to = append(to, fmt.Sprintf("bob@live%d.example", (rand.IntN(manyLanes/lanesOfMessage))*lanesOfMessage+i))
		err = c.do("250", "RCPT TO:<"+to[i]+">")
	}
	if err == nil {
		_, err = c.data(letter(id))
	}
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range to {
		m.wanted[id+" "+r] = true
	}
	return nil
}

func (m *toManyLanes) end() {
	close(m.stop)
	m.clients.Wait()
}

func (m *toManyLanes) await(g *ledger) (more int) {
	m.s.t.Helper()
	awaitFor(m.s.t, 5*time.Minute, "all messages at all their recipients", func() bool {
		missing, n := g.count(m.wanted)
		more = n
		return missing == 0
	})
	await(m.s.t, "an empty queue", func() bool { return strings.Contains(m.s.mustMSA("queue", "list"), "no messages") })
	_, more = g.count(m.wanted)
	return more
}

func lanesConfig(t *testing.T, network, name string) layout {
	return layout{msa: `
	@many recipient_domain *.example
	deliver @many relay {
		mx
		resolver ` + manyDomains(t, network) + `
		tls off
		name ` + name + `
	}
	queue {
		retry   200ms
		workers 16
	}`}
}

// In a storm of reloads, each of which renames the lanes of all that waits, nothing is lost and nothing comes twice.
func TestReloadStormOfLanes(t *testing.T) {
	needRoot(t) // mail servers are at port 25
	t.Parallel()
	reloads := often(40, 10)
	g := newLedger(t, "127.79.0.1:25")
	s := newServer(t)
	s.writeUsers("")
	one, two := patient(s.caddyfile(lanesConfig(t, "127.79", "one"))), patient(s.caddyfile(lanesConfig(t, "127.79", "two")))
	s.write("Caddyfile", one)
	s.run()
	m := &toManyLanes{s: s, wanted: make(map[string]bool)}
	m.begin(0)
	var longest time.Duration
	for n := range reloads {
		time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
		began := time.Now()
		if status, answer := s.load([]string{two, one}[n%2]); status != http.StatusOK {
			t.Fatal(status, answer)
		}
		longest = max(longest, time.Since(began))
	}
	m.end()
	more := m.await(g)
	t.Logf("%d copies in %d lanes through %d reloads, the longest of which took %s", len(m.wanted), manyLanes, reloads, longest.Round(time.Millisecond))
	if more != 0 {
		t.Errorf("%d came more than once", more)
	}
	if longest > reloadLimit {
		t.Errorf("a reload took %s", longest)
	}
}

// Under load the process is killed at random moments: of messages to recipients in many lanes nothing is lost, and no
// more comes twice than was under way.
func TestCrashOfLanes(t *testing.T) {
	needRoot(t)
	t.Parallel()
	const workers = 16
	rounds := often(12, 3)
	g := newLedger(t, "127.80.0.1:25")
	s := start(t, lanesConfig(t, "127.80", "many"))
	m := &toManyLanes{s: s, wanted: make(map[string]bool)}
	for round := range rounds {
		before := m.copies()
		m.begin(round)
		if round%2 == 0 { // a load, on a busy machine too
			await(t, "two answered messages", func() bool { return m.copies() >= before+2*lanesOfMessage })
		}
		time.Sleep(time.Duration(100+rand.IntN(500)) * time.Millisecond)
		s.kill()
		m.end()
		s.run()
	}
	more := m.await(g)
	t.Logf("%d copies in %d lanes through %d kills, %d more than once", len(m.wanted), manyLanes, rounds, more)
	if more > 2*rounds*workers { // beside the workers there are attempts that were set aside
		t.Errorf("%d came more than once", more)
	}
	if len(m.wanted) < rounds*lanesOfMessage {
		t.Errorf("%d messages are not a load", len(m.wanted)/lanesOfMessage)
	}
}
