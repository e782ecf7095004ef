package queuetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// Queue is a suite of what queues do with a spool that is real, in real time: that spool's own tests run it beside
// msatest.Spool. open gives an empty spool; each call of what it returns is another node's view of it.
func Queue(t *testing.T, open func(t testing.TB) (node func() queue.OpenSpool)) {
	for _, c := range []struct {
		name string
		test func(*suite)
	}{
		{"Delivered", (*suite).testDelivered},
		{"Retried", (*suite).testRetried},
		{"Bounced", (*suite).testBounced},
		{"Expired", (*suite).testExpired},
		{"LaneDown", (*suite).testLaneDown},
		{"HeldAndReleased", (*suite).testHeld},
		{"StoppedAndTakenOver", (*suite).testStopped},
		{"FairOnThreeNodes", (*suite).testFair},
		{"Fates", (*suite).testFates},
		{"Warned", (*suite).testWarned},
		{"DeletedInFlight", (*suite).testDeletedInFlight},
		{"Priority", (*suite).testPriority},
		{"ConcurrencyOnThreeNodes", (*suite).testConcurrency},
		{"PausedOnAllNodes", (*suite).testPaused},
		{"ExpiredWhileDown", (*suite).testExpiredWhileDown},
		{"Copies", (*suite).testCopies},
		{"CopiesGivenUp", (*suite).testCopiesGivenUp},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &suite{T: t, node: open(t), calls: make(map[string][]string)}
			s.first = s.join()
			c.test(s)
		})
	}
}

// patience is how long a test waits for what takes a moment, on a machine that has other things to do.
const patience = time.Minute

// suite is a test with nodes that have a sink in common.
type suite struct {
	*testing.T
	node  func() queue.OpenSpool
	first queue.OpenSpool

	mu      sync.Mutex
	deliver func(ctx context.Context, d *queue.Delivery, r *queue.Recipient) error
	calls   map[string][]string // by recipient: the messages
	users   []string            // of deliveries, in their order

	expire, warn time.Duration
	copyExpire   time.Duration
	concurrency  int          // of each lane
	priority     int          // of what is submitted
	copier       *queue.Queue // makes the jobs of what is submitted, copies among them; nil: there are none
}

func (s *suite) join() queue.OpenSpool {
	n := s.node()
	s.Cleanup(func() { _ = n.Close() })
	return n
}

// start runs a queue on a node.
func (s *suite) start(n queue.OpenSpool) *queue.Queue {
	q := queue.New(n, s, queue.Options{})
	q.Start()
	s.Cleanup(func() { s.stop(q) })
	return q
}

func (s *suite) stop(q *queue.Queue) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	q.Stop(ctx)
}

func (s *suite) await(what string, ok func() bool) {
	s.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			s.Fatalf("not within %v: %s; calls %v", patience, what, s.counts())
		}
	}
}

func (s *suite) empty() bool {
	n, _, err := s.first.Size(context.Background())
	return n == 0 && err == nil
}

func (s *suite) counts() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[string]int)
	for to, c := range s.calls {
		all[to] = len(c)
	}
	return all
}

func (s *suite) submit(id, user string, rcpts ...string) {
	s.Helper()
	e := &queue.Entry{ID: id, Server: "main", Accepted: time.Now(), Sender: user + "@example.org", ReturnPath: true, User: user, Priority: s.priority}
	for _, r := range rcpts {
		e.Recipients = append(e.Recipients, queue.Recipient{Address: r})
	}
	body := "Subject: " + id + "\r\n\r\nText\r\n"
	a := &queue.Accept{Entry: e, Header: []byte("Received: from here\r\n")}
	e.Size = int64(len(body) + len(a.Header))
	if s.copier != nil {
		a.Jobs = s.copier.Jobs(context.Background(), generation{s}, e)
	}
	d, err := s.first.Create(context.Background())
	if err != nil {
		s.Fatal(err)
	}
	defer d.Abort()
	if _, err := io.WriteString(d, body); err != nil {
		s.Fatal(err)
	}
	if err := d.Commit(context.Background(), a); err != nil {
		s.Fatal(err)
	}
}

// The suite is the queues' host, their generation and their sink.

// Acquire implements queue.Host.
func (s *suite) Acquire() (queue.Generation, <-chan struct{}, bool) { return generation{s}, nil, true }

type generation struct{ s *suite }

func (g generation) Route(_ context.Context, e *queue.Entry, r *queue.Recipient) (queue.Route, error) {
	_, domain, _ := strings.Cut(r.Address, "@")
	return queue.Route{Sink: g.s, Name: "test", Lane: "test/" + domain, Destination: queue.Destination{Name: domain, Concurrency: g.s.concurrency}}, nil
}
func (generation) Stamp() string     { return "000001-1" }
func (generation) Knows(string) bool { return true }
func (g generation) Schedule() queue.Schedule {
	g.s.mu.Lock()
	defer g.s.mu.Unlock()
	s := queue.Schedule{Retry: []time.Duration{50 * time.Millisecond}, Expire: time.Hour, Warn: g.s.warn}
	if g.s.expire > 0 {
		s.Expire = g.s.expire
	}
	return s
}
func (generation) Settings() queue.Settings {
	return queue.Settings{Workers: 16, FirstProbe: 50 * time.Millisecond, LastProbe: 200 * time.Millisecond, Grace: time.Second}
}
func (generation) Hostname(*queue.Entry) string { return "msa.example.org" }

// Deliver implements queue.Sink.
func (s *suite) Deliver(ctx context.Context, d *queue.Delivery) error {
	m, err := d.Open()
	if err != nil {
		return err
	}
	text, err := io.ReadAll(m)
	_ = m.Close()
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.users = append(s.users, d.Entry.User)
	for _, r := range d.Recipients {
		s.calls[r.Address] = append(s.calls[r.Address], string(text))
	}
	deliver := s.deliver
	s.mu.Unlock()
	if deliver == nil {
		return nil
	}
	for _, r := range d.Recipients {
		if err := deliver(ctx, d, r); err != nil {
			return err
		}
	}
	return nil
}

// Copies implements queue.Copier.
func (g generation) Copies(e *queue.Entry) []string {
	if g.s.copier == nil || e.Bounce {
		return nil
	}
	return []string{"archive"}
}

// RouteCopy implements queue.Copier.
func (g generation) RouteCopy(_ context.Context, name string, _ *queue.Entry, _ *queue.Recipient) (queue.Route, error) {
	if name != "archive" {
		return queue.Route{}, queue.NoCopy(name)
	}
	schedule := g.Schedule()
	schedule.Warn = 50 * time.Millisecond // of which nothing is to come
	if g.s.copyExpire > 0 {
		schedule.Expire = g.s.copyExpire
	}
	return queue.Route{Sink: archive(g), Name: name, Lane: name + "/store", Destination: queue.Destination{Name: "store"}, Schedule: &schedule}, nil
}

func (s *suite) testDelivered() {
	for i := range 50 {
		s.submit(fmt.Sprint("Q", i), "alice", "bob@example.net", fmt.Sprintf("carol@domain%d.example", i%5))
	}
	s.start(s.first)
	s.await("all is delivered", s.empty)
	if c := s.counts(); c["bob@example.net"] != 50 || c["carol@domain3.example"] != 10 {
		s.Errorf("calls %v", c)
	}
	if text := s.calls["bob@example.net"][0]; !strings.HasPrefix(text, "Received: from here\r\nSubject: Q") || !strings.HasSuffix(text, "\r\nText\r\n") {
		s.Errorf("%q", text)
	}
}

// A recipient that is tried again does not have another tried again that was delivered.
func (s *suite) testRetried() {
	tries := 0
	s.deliver = func(_ context.Context, d *queue.Delivery, r *queue.Recipient) error {
		if r.Address != "busy@busy.example" {
			return nil
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if tries++; d.Attempt != tries {
			s.Errorf("attempt %d is called %d", tries, d.Attempt)
		}
		if tries < 4 {
			return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 2, 0}, Message: "Mailbox busy"}
		}
		return nil
	}
	s.start(s.first)
	s.submit("Q1", "alice", "busy@busy.example", "bob@example.net")
	s.await("all is delivered", s.empty)
	if c := s.counts(); c["busy@busy.example"] != 4 || c["bob@example.net"] != 1 {
		s.Errorf("calls %v", c)
	}
}

func (s *suite) testBounced() {
	s.deliver = func(_ context.Context, _ *queue.Delivery, r *queue.Recipient) error {
		if r.Address == "nobody@example.net" {
			return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "No such user"}
		}
		return nil
	}
	s.start(s.first)
	s.submit("Q1", "alice", "nobody@example.net")
	s.await("the bounce", s.empty)
	told := s.calls["alice@example.org"]
	if len(told) != 1 || !strings.Contains(told[0], "No such user") || s.counts()["nobody@example.net"] != 1 {
		s.Errorf("calls %v, told %q", s.counts(), told)
	}
}

func (s *suite) testExpired() {
	s.deliver = func(_ context.Context, _ *queue.Delivery, r *queue.Recipient) error {
		if r.Address == "busy@example.net" {
			return errors.New("not now")
		}
		return nil
	}
	s.start(s.first)
	s.unhurried(500*time.Millisecond, func(id string) bool {
		before := s.counts()
		s.submit(id, "alice", "busy@example.net")
		s.await("the bounce", s.empty)
		c := s.counts()
		if n := c["alice@example.org"] - before["alice@example.org"]; n != 1 {
			s.Errorf("%d bounces", n)
		}
		return c["busy@example.net"]-before["busy@example.net"] >= 2 // it was tried again
	})
}

// unhurried does something with a message that expires, again with twice the time until a busy machine came to what is wanted.
func (s *suite) unhurried(expire time.Duration, do func(id string) bool) {
	s.Helper()
	for i := 1; ; i++ {
		s.mu.Lock()
		s.expire = expire
		s.mu.Unlock()
		if do(fmt.Sprint("Q", i)) {
			return
		}
		if expire *= 2; expire > patience {
			s.Fatalf("not within %v", patience)
		}
	}
}

// A lane that is down is probed and holds up no other; when it is up all that waits goes there.
func (s *suite) testLaneDown() {
	down := true
	s.deliver = func(_ context.Context, _ *queue.Delivery, r *queue.Recipient) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if down && r.Address == "bob@down.example" {
			return queue.Unreachable(errors.New("connection refused"))
		}
		return nil
	}
	q := s.start(s.first)
	for i := range 100 {
		s.submit(fmt.Sprint("Q", i), "alice", "bob@down.example", "bob@up.example")
	}
	s.await("what is up", func() bool { return s.counts()["bob@up.example"] == 100 })
	s.await("it is known to be down", func() bool {
		lanes, err := q.Lanes(context.Background())
		return err == nil && slices.ContainsFunc(lanes, func(l queue.Lane) bool {
			return l.Name == "test/down.example" && l.State == queue.LaneDown && l.Waiting >= 98
		})
	})
	before, began := s.counts()["bob@down.example"], time.Now()
	time.Sleep(time.Second)
	n, took := s.counts()["bob@down.example"]-before, time.Since(began) // longer, on a busy machine
	if float64(n) > 25*took.Seconds() {
		s.Errorf("%d probes in %v", n, took)
	}
	s.mu.Lock()
	down = false
	s.mu.Unlock()
	s.await("all is delivered", s.empty)
}

func (s *suite) testHeld() {
	s.submit("Q1", "alice", "bob@example.net")
	hold := func(reason string) {
		if _, err := s.first.Change(context.Background(), "Q1", func(m *queue.EntryView) error { m.Status.Held = reason; return nil }); err != nil {
			s.Fatal(err)
		}
	}
	hold("to be looked at")
	s.start(s.first)
	s.submit("Q2", "alice", "carol@example.net")
	s.await("the other message", func() bool { return s.counts()["carol@example.net"] == 1 })
	time.Sleep(50 * time.Millisecond)
	if n := s.counts()["bob@example.net"]; n != 0 {
		s.Errorf("what is held was tried %d times", n)
	}
	hold("")
	s.await("all is delivered", s.empty)
}

// What a queue has under way when it is stopped another one delivers, and what it had delivered it does not.
func (s *suite) testStopped() {
	block := true
	s.deliver = func(ctx context.Context, _ *queue.Delivery, r *queue.Recipient) error {
		s.mu.Lock()
		wait := block && r.Address == "bob@slow.example"
		s.mu.Unlock()
		if wait {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}
	q := s.start(s.first)
	for i := range 10 {
		s.submit(fmt.Sprint("Q", i), "alice", "bob@slow.example", "bob@quick.example")
	}
	s.await("some are under way", func() bool { c := s.counts(); return c["bob@slow.example"] > 0 && c["bob@quick.example"] == 10 })
	s.stop(q)
	s.mu.Lock()
	block = false
	s.mu.Unlock()
	other := s.join()
	s.start(other)
	s.await("another node delivers the rest", s.empty)
	if n := s.counts()["bob@quick.example"]; n != 10 {
		s.Errorf("%d of 10 were delivered, or again", n)
	}
}

// Of two users whose messages wait nobody has twice as many delivered as the other, although one had
// all of them there before.
func (s *suite) testFair() {
	const each = 300
	for _, user := range []string{"alice", "bob"} {
		for i := range each {
			s.submit(fmt.Sprint(user, i), user, "carol@example.net")
		}
	}
	s.deliver = func(context.Context, *queue.Delivery, *queue.Recipient) error {
		time.Sleep(5 * time.Millisecond)
		return nil
	}
	s.start(s.first)
	s.start(s.join())
	s.start(s.join())
	s.await("all is delivered", s.empty)
	half := s.users[:each]
	bob := 0
	for _, user := range half {
		if user == "bob" {
			bob++
		}
	}
	if bob < each/3 || bob > each*2/3 {
		s.Errorf("of the first %d deliveries %d are bob's", each, bob)
	}
}
