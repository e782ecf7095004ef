package notify

import (
	"container/list"
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
)

// Bounds of what is in memory, and how often the journal is asked.
const (
	window   = 1000 // events that wait, of which none was put aside
	page     = 200  // facts that are read at once
	pollWait = 500 * time.Millisecond
	saveWait = time.Second
)

// tail is a follower at work. One goroutine has it; calls under way only send what became of them.
type tail struct {
	*Follower
	ctx     context.Context // of calls and of questions to the journal
	readTo  journal.Position
	saved   journal.Position // what the journal has as its cursor
	waiting *list.List       // of *item: what was read and is not told, in the journal's order, but for lanes that were put aside

	lanes   map[string]*lane
	ready   *list.List     // of *lane: that have events and did not fail
	failing map[*lane]bool // that have events and failed
	slots   []*lane        // that were put aside

	receiver receiver // unless each user has one
	inFlight int
	trying   int // in flight, of lanes that had failed
	results  chan result

	ahead    ahead
	nextRead time.Time // once all was read
	nextLook time.Time // ahead
	nextSet  time.Time
	starved  []*lane // put aside, for which the journal has still to be asked
	// known are the places of facts that lanes have taken in ahead of the follower, perhaps.
	known map[journal.Position]bool

	lastError string
	atEnd     time.Time // when the journal had nothing more
	allTold   time.Time // when moreover nothing waited
	toldOff   time.Time // when the log had the last line about a failure
}

type result struct {
	lane  *lane
	began time.Time
	err   error
}

func newTail(ctx context.Context, f *Follower) *tail {
	return &tail{Follower: f, ctx: ctx, waiting: list.New(), lanes: make(map[string]*lane), ready: list.New(), failing: make(map[*lane]bool), slots: make([]*lane, f.Options.slots),
		results: make(chan result, f.Concurrency)}
}

// begin goes to where the follower was, or for a new one to the end of the journal.
func (t *tail) begin(ctx context.Context) error {
	at, err := begin(ctx, t.Journal, t.Name)
	if err != nil {
		return err
	}
	t.readTo, t.saved = at, at
	return t.loadAside(ctx)
}

// Begin has a follower that is new hear of what comes from now on.
func Begin(ctx context.Context, j Journal, name string) (err error) {
	defer recovered(zap.NewNop(), &err)
	_, err = begin(ctx, j, name)
	return err
}

func begin(ctx context.Context, j Journal, name string) (journal.Position, error) {
	at, err := j.Cursor(ctx, name)
	if err != nil || at != "" {
		return at, err
	}
	stat, err := j.Stat(ctx)
	if err != nil {
		return "", err
	}
	return stat.End, j.SetCursor(ctx, name, stat.End)
}

// follow tells until it is to stop, or another node may follow.
func (t *tail) follow(stop context.Context, lost <-chan struct{}) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now()
		select {
		case <-lost:
			return nil
		case <-stop.Done():
			return t.end(lost)
		default:
		}
		t.dispatch(now)
		more := t.read(now)
		t.dispatch(now)
		t.putAside(now)
		t.save(now)
		t.publish()
		if more && t.hasRoom() {
			t.drain()
			continue
		}
		timer.Reset(max(0, time.Until(t.nextTurn(now))))
		select {
		case <-lost:
			return nil
		case <-stop.Done():
		case <-timer.C:
		case r := <-t.results:
			t.finish(r)
			t.drain()
		}
	}
}

// drain takes what results there are.
func (t *tail) drain() {
	for {
		select {
		case r := <-t.results:
			t.finish(r)
		default:
			return
		}
	}
}

// end waits for the calls under way, and writes down how far it came.
func (t *tail) end(lost <-chan struct{}) error {
	for t.inFlight > 0 {
		select {
		case <-lost:
			return nil
		case r := <-t.results:
			t.finish(r)
		}
	}
	t.nextSet = time.Time{}
	t.save(time.Now())
	return nil
}

// wait ends the calls that are still under way, so that whoever follows next tells nothing beside them.
func (t *tail) wait(cancel context.CancelFunc) {
	cancel()
	for ; t.inFlight > 0; t.inFlight-- {
		<-t.results
	}
}

// nextTurn is when there may be something to do, if no call ends before.
func (t *tail) nextTurn(now time.Time) time.Time {
	next := t.nextRead
	if !t.hasRoom() {
		next = t.nextLook
	}
	if t.receiver.down && t.receiver.until.After(now) && t.receiver.until.Before(next) {
		next = t.receiver.until
	}
	for l := range t.failing {
		if l.due.After(now) && l.due.Before(next) {
			next = l.due
		}
	}
	return next
}

// hasRoom tells whether more is to be read: while the receiver takes nothing, only if there is nothing new to try it with.
func (t *tail) hasRoom() bool {
	return t.waiting.Len() < window && (!t.receiver.down || t.ready.Len() == 0)
}

// read takes in what comes next in the journal, and tells whether there may be more at once.
func (t *tail) read(now time.Time) (more bool) {
	if !t.hasRoom() {
		t.lookAhead(now)
		return false
	}
	if now.Before(t.nextRead) {
		return false
	}
	facts, err := t.Journal.Follow(t.ctx, t.readTo, page)
	if err != nil {
		t.complain("cannot read the journal; it is tried again", zap.Error(err))
		t.nextRead = now.Add(retryAfter)
		return false
	}
	for i := range facts {
		f := &facts[i]
		if e := t.choose(f); e != nil {
			t.add(e, t.readTo)
			t.ahead.passed()
		}
		t.readTo = f.Position
		t.ahead.reached(t.readTo)
	}
	if len(facts) == 0 {
		t.atEnd = now // which may be before facts that a lane has taken in: known stays
		t.ahead, t.nextRead = ahead{}, now.Add(pollWait)
		return false
	}
	t.nextRead = time.Time{}
	return true
}

// choose makes an event of a fact. What came with its message out of another spool was told there.
func (t *tail) choose(f *journal.Fact) *Event {
	if f.Carried {
		return nil
	}
	return t.Choose(f)
}

// save writes down how far it came: everything before is told, not to be told, or has a cursor of its own.
func (t *tail) save(now time.Time) {
	if now.Before(t.nextSet) {
		return
	}
	t.nextSet = now.Add(saveWait)
	at := t.readTo
	if first := t.waiting.Front(); first != nil {
		at = first.Value.(*item).before
	}
	if !t.saveAside() || at == t.saved {
		return
	}
	if err := t.Journal.SetCursor(t.ctx, t.Name, at); err != nil {
		t.complain("cannot write down what was told; it may be told again", zap.Error(err))
		return
	}
	t.saved = at
}

// dispatch tells what may be told now.
func (t *tail) dispatch(now time.Time) {
	for t.inFlight < t.limit(now) {
		l := t.pick(now)
		if l == nil {
			return
		}
		t.launch(l)
	}
}

// limit is how many may be told at once: none of a receiver that is left alone, and then one to see.
func (t *tail) limit(now time.Time) int {
	switch {
	case !t.receiver.down:
		return t.Concurrency
	case now.Before(t.receiver.until):
		return 0
	}
	return 1
}

func (t *tail) launch(l *lane) {
	l.busy = true
	t.inFlight++
	if l.failures > 0 {
		t.trying++
	}
	e, began := l.items[0].event, time.Now()
	go func() {
		r := result{lane: l, began: began, err: errPanic}
		defer func() { t.results <- r }()
		defer recovered(t.Log, &r.err)
		r.err = t.Tell(t.ctx, e)
	}()
}

// complain writes a line in the log, not more than one a minute.
func (t *tail) complain(text string, fields ...zap.Field) {
	now := time.Now()
	if t.ctx.Err() != nil || now.Sub(t.toldOff) < time.Minute && !t.toldOff.IsZero() {
		return
	}
	t.toldOff = now
	t.Log.Warn(text, fields...)
}

// publish has others see how far it is.
func (t *tail) publish() {
	if !t.atEnd.IsZero() && t.inFlight == 0 && len(t.lanes) == 0 {
		t.allTold = t.atEnd
	}
	s := Status{Active: true, Told: t.allTold, Down: t.receiver.down, Next: t.receiver.until, Error: t.lastError, Waiting: t.waiting.Len() + t.ahead.count}
	oldest := func(at time.Time) {
		if s.Oldest.IsZero() || at.Before(s.Oldest) {
			s.Oldest = at
		}
	}
	if first := t.waiting.Front(); first != nil {
		oldest(first.Value.(*item).event.Fact.Time)
	}
	if t.ahead.count > 0 {
		oldest(t.ahead.oldest)
	}
	for _, l := range t.slots {
		if l == nil {
			continue
		}
		s.Aside++
		s.Waiting += len(l.items)
		if len(l.items) > 0 {
			oldest(l.items[0].event.Fact.Time)
		}
	}
	t.setStatus(s)
}

// describe names an event in the log.
func describe(e *Event) []zap.Field {
	return []zap.Field{zap.String("event", e.Type()), zap.String("queue_id", e.Fact.ID), zap.String("event_id", e.ID), zap.String("at", fmt.Sprint(e.Fact.Time.UTC().Format(time.RFC3339)))}
}
