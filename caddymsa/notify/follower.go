// Package notify follows a journal and tells somebody else what it says: every fact at least once, those of a message in
// their order, through crashes of this process and outages of the receiver. It knows neither configuration nor protocol.
package notify

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
)

// Journal is what a follower needs of one. It may be a journal.Claimer besides.
type Journal interface {
	journal.Reader
	journal.Cursors
	Stat(ctx context.Context) (journal.Stat, error)
}

// Options of a follower.
type Options struct {
	// Name of its cursor, the same whenever it follows this journal.
	Name    string
	Journal Journal
	Log     *zap.Logger
	// Choose makes of a fact what is told of it; nil: nothing.
	Choose func(*journal.Fact) *Event
	// Tell returns nil once the receiver has the event. It is called concurrently, never for two events of one message, and
	// ends with its context.
	Tell func(ctx context.Context, e *Event) error
	// ByUser: users have receivers of their own. Events of one user are told one after the other, and hold up nobody else's.
	ByUser bool
	// Concurrency is how many are told at once.
	Concurrency int
	// Observe is told of each attempt. Nil: nobody is.
	Observe func(Result)

	slots  int           // how many lanes can be put aside; 0: maxSlots
	giveUp time.Duration // 0: giveUp
}

// Result is how an attempt to tell ended.
type Result string

// Results.
const (
	Told    Result = "told"
	Failed  Result = "failed"   // it is tried again
	GivenUp Result = "given_up" // nobody will hear of it
)

// Status is how far a follower is.
type Status struct {
	// Active: this node acts for it.
	Active bool
	// Waiting is how many events are not told yet, as far as the journal was read; Oldest is when the first of them happened.
	Waiting int
	Oldest  time.Time
	// Aside is how many messages, or users, are told on their own while others are not held up.
	Aside int
	// Down: the receiver takes nothing; it is asked again at Next.
	Down bool
	Next time.Time
	// Error is the last failure, until something was told.
	Error string
	// Told: all that happened before then was told.
	Told time.Time
}

// Follower tells of the facts of one journal.
type Follower struct {
	Options

	stopping chan struct{}
	stop     sync.Once
	done     chan struct{}
	calls    context.Context // ends the calls under way
	cancel   context.CancelFunc

	mu     sync.Mutex
	status Status
}

// Start begins to follow.
func Start(o Options) *Follower {
	if o.slots == 0 {
		o.slots = maxSlots
	}
	if o.giveUp == 0 {
		o.giveUp = giveUp
	}
	f := &Follower{Options: o, stopping: make(chan struct{}), done: make(chan struct{})}
	f.calls, f.cancel = context.WithCancel(context.Background())
	go f.run()
	return f
}

// Stop begins nothing new and waits for the calls under way until ctx ends, which are cancelled then.
func (f *Follower) Stop(ctx context.Context) {
	f.stop.Do(func() { close(f.stopping) })
	select {
	case <-f.done:
		return
	case <-ctx.Done():
	}
	f.cancel()
	select {
	case <-f.done:
	case <-time.After(parting):
		f.Log.Error("a notifier does not end although its context has; it is left behind")
	}
}

// parting is how long a call may take to return once its context has ended.
const parting = 500 * time.Millisecond

// Status is how far it is.
func (f *Follower) Status() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

func (f *Follower) setStatus(s Status) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status = s
}

// retryAfter is how long to wait when the journal failed.
const retryAfter = 5 * time.Second

// run follows as long as this node is the one to do so, again and again.
func (f *Follower) run() {
	defer close(f.done)
	defer f.cancel()
	for {
		err := f.turn()
		f.setStatus(Status{})
		select {
		case <-f.stopping:
			return
		default:
		}
		if err == nil {
			continue
		}
		f.Log.Error("cannot follow the journal; it is tried again", zap.Error(err))
		select {
		case <-f.stopping:
			return
		case <-time.After(retryAfter):
		}
	}
}

// turn follows until it stops or another node may follow.
func (f *Follower) turn() (err error) {
	ctx, cancel := context.WithCancel(f.calls)
	defer cancel()
	waiting, stop := context.WithCancel(ctx) // ends as soon as it is to stop
	defer stop()
	go func() {
		select {
		case <-f.stopping:
			stop()
		case <-waiting.Done():
		}
	}()
	lost, release, err := f.claim(waiting)
	if err != nil {
		if waiting.Err() != nil {
			return nil
		}
		return err
	}
	defer release()
	t := newTail(ctx, f)
	defer t.wait(cancel)
	defer recovered(f.Log, &err)
	if err := t.begin(waiting); err != nil {
		if waiting.Err() != nil {
			return nil
		}
		return err
	}
	return t.follow(waiting, lost)
}

// claim has this follower act alone, here and among the nodes that share the journal.
func (f *Follower) claim(ctx context.Context) (lost <-chan struct{}, release func(), err error) {
	leave, err := here.enter(ctx, f.Journal, f.Name)
	if err != nil {
		return nil, nil, err
	}
	c, ok := f.Journal.(journal.Claimer)
	if !ok {
		return nil, leave, nil
	}
	defer recovered(f.Log, &err)
	defer func() {
		if release == nil {
			leave()
		}
	}()
	lost, give, err := c.Claim(ctx, f.Name)
	if err != nil {
		return nil, nil, err
	}
	return lost, func() { give(); leave() }, nil
}

// errPanic is in place of a panic.
var errPanic = errors.New("it panicked")

// recovered makes an error of a panic in what is deferred to it.
func recovered(log *zap.Logger, err *error) {
	if p := recover(); p != nil {
		log.Error("a notifier or the journal panicked; please report this", zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
		*err = fmt.Errorf("%w: %v", errPanic, p)
	}
}
