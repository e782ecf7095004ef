package queue_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-smtp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-msa/caddy-msa/caddymsa/dsn"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue/queuetest"
)

// testSpool is what a rig has for a spool.
type testSpool interface {
	queue.OpenSpool
	queue.MessageOpener
	journal.Journal
	Submit(e *queue.Entry, message []byte, jobs ...queue.Job) error
	// SetFault has the spool ask before it does something, as MemSpool.Fault says.
	SetFault(fault func(op string, e *queue.Entry) error)
	// Reopen opens the spool again, as it would be after a crash.
	Reopen()
}

// newSpool makes the spool of a rig: one in memory, unless the tests are run on another (postgres_test.go).
var newSpool = func(*testing.T) testSpool { return queuetest.NewMemSpool() }

// memory is a rig's spool, for tests of what only one in memory can be made to do.
func (r *rig) memory() *queuetest.MemSpool { return r.spool.(*queuetest.MemSpool) }

// rig is a queue with all that is around it, in a bubble of its own time.
type rig struct {
	*testing.T
	*queue.Queue
	spool  testSpool
	host   *host
	logs   *observer.ObservedLogs
	events *events
	began  time.Time
}

// run runs a test in a bubble, with a first generation in charge that is
// configured by routes, and a queue that has not been started.
func run(t *testing.T, route routeFunc, test func(*rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zapcore.DebugLevel)
		r := &rig{T: t, spool: newSpool(t), host: new(host), logs: logs, events: new(events), began: time.Now()}
		r.host.set(newGeneration(route))
		r.Queue = queue.New(r.spool, r.host, r.options(core))
		test(r)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		r.Stop(ctx)
	})
}

func (r *rig) options(core zapcore.Core) queue.Options {
	n := 0
	var mu sync.Mutex
	return queue.Options{
		Logger: zap.New(core), Observer: r.events, Rand: func(int64) int64 { return 0 },
		NewID: func() string {
			mu.Lock()
			defer mu.Unlock()
			n++
			return fmt.Sprintf("BOUNCE%d", n)
		},
	}
}

const letter = "Received: from here\r\nSubject: Hello\r\n\r\nBody text\r\n"

func (r *rig) submit(id string, change func(*queue.Entry), rcpts ...string) {
	r.Helper()
	e := &queue.Entry{
		ID: id, Server: "main", Accepted: time.Now(), Size: int64(len(letter)),
		Sender: "alice@example.org", ReturnPath: true, User: "alice",
	}
	for _, a := range rcpts {
		e.Recipients = append(e.Recipients, queue.Recipient{Address: a})
	}
	if change != nil {
		change(e)
	}
	if err := r.spool.Submit(e, []byte(letter)); err != nil {
		r.Fatal(err)
	}
}

// after lets time pass and all settle.
func (r *rig) after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// view is a message in the spool, with what its jobs say put together.
type view struct {
	*queue.EntryView
	Recipients []queue.Recipient
	Attempts   int
	Next       time.Time
	Held       string
	History    []queue.Event
}

// entry is nil when there is none.
func (r *rig) entry(id string) *view {
	m, err := r.spool.Get(context.Background(), id)
	if errors.Is(err, queue.ErrNotFound) {
		return nil
	}
	if err != nil {
		r.Fatal(err)
	}
	v := &view{EntryView: m, Recipients: m.Recipients(), Next: m.Next(), Held: m.Status.Held, History: m.Events()}
	for i := range m.Jobs {
		v.Attempts = max(v.Attempts, m.Jobs[i].Attempts)
	}
	return v
}

func (r *rig) mustHave(id string) *view {
	r.Helper()
	e := r.entry(id)
	if e == nil {
		r.Fatalf("there is no entry %s", id)
	}
	return e
}

func (r *rig) mustNotHave(ids ...string) {
	r.Helper()
	for _, id := range ids {
		if e := r.entry(id); e != nil {
			r.Fatalf("there is still an entry %s: %+v", id, e.EntryView)
		}
	}
}

// logged returns the log lines with a message.
func (r *rig) logged(message string) []observer.LoggedEntry {
	return r.logs.FilterMessage(message).All()
}

func (r *rig) mustLog(level zapcore.Level, message string, n int) {
	r.Helper()
	lines := r.logged(message)
	if len(lines) != n {
		r.Fatalf("%d lines %q, wanted %d; all: %v", len(lines), message, n, r.logs.All())
	}
	for _, l := range lines {
		if l.Level != level {
			r.Errorf("%q at level %v, wanted %v", message, l.Level, level)
		}
	}
}

type routeFunc func(e *queue.Entry, r *queue.Recipient) (queue.Sink, string, error)

// to routes everything to one sink.
func to(s queue.Sink) routeFunc {
	return func(*queue.Entry, *queue.Recipient) (queue.Sink, string, error) { return s, "test", nil }
}

// generation is a queue.Generation that a test configures.
type generation struct {
	own         *queue.Schedule            // of the route
	ownFor      map[string]*queue.Schedule // by recipient
	destination func(*queue.Recipient) queue.Destination
	gone        string // a lane that it does not know
	copies      map[string]queue.Route
	route       routeFunc
	schedule    queue.Schedule
	settings    queue.Settings
	stamp       string
	interrupt   chan struct{}
}

var generations atomic.Int64

func newGeneration(route routeFunc) *generation {
	n := generations.Add(1)
	return &generation{route: route, stamp: fmt.Sprintf("%06d-%d", n, n), interrupt: make(chan struct{}),
		schedule: queue.Schedule{Retry: []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute}, Expire: 5 * 24 * time.Hour},
		settings: queue.Settings{Workers: 64, FirstProbe: 15 * time.Second, LastProbe: 5 * time.Minute, Grace: 30 * time.Second},
	}
}

// leave has attempts end that can be taken back.
func (g *generation) leave() { close(g.interrupt) }

func (g *generation) Route(_ context.Context, e *queue.Entry, r *queue.Recipient) (queue.Route, error) {
	sink, name, err := g.route(e, r)
	own := g.own
	if o := g.ownFor[r.Address]; o != nil {
		own = o
	}
	route := queue.Route{Sink: sink, Name: name, Lane: name, Schedule: own}
	if d, ok := sink.(queue.Destinations); ok {
		route.Destination = d.Destination(e, r)
	}
	if g.destination != nil {
		route.Destination = g.destination(r)
	}
	if d := route.Destination.Name; d != "" {
		route.Lane += "/" + d
	}
	return route, err
}

// Copies implements queue.Copier: those that the generation has are made of every message that is not a bounce.
func (g *generation) Copies(e *queue.Entry) (names []string) {
	if e.Bounce {
		return nil
	}
	return slices.Sorted(maps.Keys(g.copies))
}

func (g *generation) RouteCopy(_ context.Context, name string, _ *queue.Entry, _ *queue.Recipient) (queue.Route, error) {
	route, ok := g.copies[name]
	if !ok {
		return route, queue.NoCopy(name)
	}
	return route, nil
}

func (g *generation) Stamp() string                { return g.stamp }
func (g *generation) Knows(lane string) bool       { return lane != g.gone }
func (g *generation) Expects(lane string) bool     { return lane == "expected" }
func (g *generation) Schedule() queue.Schedule     { return g.schedule }
func (g *generation) Settings() queue.Settings     { return g.settings }
func (g *generation) Hostname(*queue.Entry) string { return "msa.example.org" }

// host is a queue.Host with one generation or none.
type host struct {
	mu sync.Mutex
	g  *generation
}

func (h *host) set(g *generation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.g = g
}

func (h *host) Acquire() (queue.Generation, <-chan struct{}, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.g == nil {
		return nil, nil, false
	}
	return h.g, h.g.interrupt, true
}

// events is an observer that remembers.
type events struct {
	mu  sync.Mutex
	all []string
}

func (ev *events) add(format string, args ...any) {
	ev.mu.Lock()
	defer ev.mu.Unlock()
	ev.all = append(ev.all, fmt.Sprintf(format, args...))
}

func (ev *events) Attempted(a *queue.Attempt) {
	for _, r := range a.Results {
		ev.add("%s %s %s %s", a.Entry.ID, r.Outcome, r.Recipient.Address, a.Route)
	}
}

func (ev *events) GaveUp(e *queue.Entry, failed []*queue.Recipient, bounce, reason string) {
	for _, r := range failed {
		ev.add("%s gave up %s [%s] %s", e.ID, r.Address, bounce, reason)
	}
}

func (ev *events) Told(e *queue.Entry, action dsn.Action, about []*queue.Recipient, id string) {
	for _, r := range about {
		ev.add("%s told %s %s [%s]", e.ID, action, r.Address, id)
	}
}

func (ev *events) Held(e *queue.Entry, _ string) { ev.add("%s held", e.ID) }

// mustSeeAll is mustSee where jobs of one entry ran side by side.
func (r *rig) mustSeeAll(want ...string) {
	r.Helper()
	slices.Sort(r.events.all)
	slices.Sort(want)
	r.mustSee(want...)
}

func (r *rig) mustSee(want ...string) {
	r.Helper()
	r.events.mu.Lock()
	defer r.events.mu.Unlock()
	// Entries go their ways independently: the order counts within each.
	byEntry := func(a, b string) int {
		idA, _, _ := strings.Cut(a, " ")
		idB, _, _ := strings.Cut(b, " ")
		return strings.Compare(idA, idB)
	}
	slices.SortStableFunc(r.events.all, byEntry)
	slices.SortStableFunc(want, byEntry)
	if !slices.Equal(r.events.all, want) {
		r.Errorf("events\n  %s\nwanted\n  %s", strings.Join(r.events.all, "\n  "), strings.Join(want, "\n  "))
	}
	r.events.all = nil
}

// sink is a queue.Sink that does what a function says, and remembers when what came.
type sink struct {
	deliver func(ctx context.Context, d *queue.Delivery) error

	mu    sync.Mutex
	began time.Time // the first call
	calls []call
	now   int // running
	most  int // ran at once
}

type call struct {
	after   time.Duration // since the first
	rcpts   string
	entry   queue.Entry
	attempt int
	message string
}

func newSink(deliver func(ctx context.Context, d *queue.Delivery) error) *sink {
	return &sink{deliver: deliver}
}

func (s *sink) Deliver(ctx context.Context, d *queue.Delivery) error {
	c := call{entry: *d.Entry, attempt: d.Attempt}
	var rcpts []string
	for _, r := range d.Recipients {
		rcpts = append(rcpts, r.Address)
	}
	c.rcpts = strings.Join(rcpts, " ")
	if m, err := d.Open(); err == nil {
		b, _ := io.ReadAll(m)
		c.message = string(b)
		m.Close()
	}
	s.mu.Lock()
	if len(s.calls) == 0 {
		s.began = time.Now()
	}
	c.after = time.Since(s.began)
	s.calls = append(s.calls, c)
	s.now++
	s.most = max(s.most, s.now)
	deliver := s.deliver
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.now--
		s.mu.Unlock()
	}()
	if deliver == nil {
		return nil
	}
	return deliver(ctx, d)
}

// become has it deliver otherwise from now on.
func (s *sink) become(deliver func(ctx context.Context, d *queue.Delivery) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deliver = deliver
}

// atOnce is how many attempts are under way, and the most that there were.
func (s *sink) atOnce() (now, most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now, s.most
}

func (s *sink) all() []call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

func (s *sink) last() call {
	all := s.all()
	if len(all) == 0 {
		return call{}
	}
	return all[len(all)-1]
}

func always(err error) func(context.Context, *queue.Delivery) error {
	return func(context.Context, *queue.Delivery) error { return err }
}

func untilCancelled(ctx context.Context, _ *queue.Delivery) error {
	<-ctx.Done()
	return ctx.Err()
}

func reply(code int, enhanced smtp.EnhancedCode, text string) error {
	return &smtp.SMTPError{Code: code, EnhancedCode: enhanced, Message: text}
}

var (
	noSuchUser = reply(550, smtp.EnhancedCode{5, 1, 1}, "No such user")
	tryLater   = reply(451, smtp.EnhancedCode{4, 2, 0}, "Mailbox busy")
)
