package queue

import (
	"context"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

const (
	// maxWait is how long the queue relies on a timer, which knows nothing of a
	// clock that was set or a machine that slept.
	maxWait = time.Minute
	// pollWait is how often a spool is asked that is no Notifier.
	pollWait = time.Second
	// troublePause is the wait after the spool failed.
	troublePause = 5 * time.Second
	// stuckPause is how long Stop waits for sinks that it has told to give up.
	stuckPause = time.Second
)

// Queue delivers what lies in a spool. One goroutine, the scheduler, takes due
// entries and starts a worker for each, no more at once than the schedule allows.
type Queue struct {
	spool  Spool
	host   Host
	opts   Options
	log    *zap.Logger
	notify <-chan struct{} // the spool's, or nil

	wake  chan struct{} // a generation came or went
	freed chan struct{} // a worker ended

	leasing     context.Context // ends when no more entries are taken
	stopLeasing context.CancelFunc
	attempts    context.Context // the parent of all attempts
	cancel      context.CancelFunc

	start   sync.Once
	running atomic.Int32
	places  places
	pace    pace
	group   sync.WaitGroup // the scheduler and the workers
}

// New returns a queue that does nothing until Start.
func New(spool Spool, host Host, opts Options) *Queue {
	opts.setDefaults()
	q := &Queue{
		spool: spool, host: host, opts: opts, log: opts.Logger,
		wake: make(chan struct{}, 1), freed: make(chan struct{}, 1),
	}
	if n, ok := spool.(Notifier); ok {
		q.notify = n.Notify()
	}
	q.leasing, q.stopLeasing = context.WithCancel(context.Background())
	q.attempts, q.cancel = context.WithCancel(context.Background())
	return q
}

// Start begins delivery. It does nothing when that has begun or was stopped.
func (q *Queue) Start() {
	q.start.Do(func() {
		if q.leasing.Err() == nil {
			q.group.Go(q.schedule)
		}
	})
}

// Wake tells the queue that another generation is in charge.
func (q *Queue) Wake() { signal(q.wake) }

// ProbeNow has destinations that are down tried by the next entry that goes there: the operator knows
// more than the schedule.
func (q *Queue) ProbeNow() {
	q.places.probeNow()
	q.Wake()
}

// Stop takes no more entries and waits for the attempts under way; when ctx ends
// they are cancelled, and what they had is due again. It returns when all have
// ended, or gives up on those sinks that do not heed their context.
func (q *Queue) Stop(ctx context.Context) {
	q.stopLeasing()
	defer q.cancel()
	q.start.Do(func() {}) // never from now on
	ended := make(chan struct{})
	go func() {
		q.group.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return
	case <-ctx.Done():
	}
	q.cancel()
	stuck := time.NewTimer(stuckPause)
	defer stuck.Stop()
	select {
	case <-ended:
	case <-stuck.C:
		q.log.Error("deliveries do not end although they were cancelled; they are left behind",
			zap.Int32("deliveries", q.running.Load()))
	}
}

// schedule is the scheduler's goroutine.
func (q *Queue) schedule() {
	limit := int32(math.MaxInt32) // until a generation says
	for q.leasing.Err() == nil {
		if q.running.Load() >= limit {
			select {
			case <-q.freed:
			case <-q.wake:
				limit = math.MaxInt32
			case <-q.leasing.Done():
			}
			continue
		}
		g, ctx, release, ok := q.host.Acquire(q.attempts)
		if !ok {
			select {
			case <-q.wake:
			case <-q.leasing.Done():
			}
			continue
		}
		schedule := g.Schedule()
		if limit = int32(max(1, schedule.Workers)); q.running.Load() >= limit {
			release()
			continue
		}
		lease, next, err := q.spool.Lease(q.leasing, now())
		if err != nil {
			release()
			q.idle(next, err)
			continue
		}
		q.running.Add(1)
		q.group.Go(func() {
			defer func() {
				q.running.Add(-1)
				signal(q.freed)
			}()
			q.work(turn{lease: lease}, g, ctx, release)
		})
	}
}

// turn is an entry that a worker is to attempt, and what it was parked for, if it was.
type turn struct {
	lease Lease
	place *placeKey
}

// work makes an attempt, and then those that could not begin before it had ended.
func (q *Queue) work(first turn, g Generation, ctx context.Context, release func()) {
	todo := []turn{first}
	for len(todo) > 0 {
		t := todo[0]
		todo = todo[1:]
		if g == nil {
			ok := q.leasing.Err() == nil
			if ok {
				g, ctx, release, ok = q.host.Acquire(q.attempts)
			}
			if !ok {
				t.lease.Release()
				q.places.giveUp(t.place)
				continue
			}
		}
		a := &attempt{q: q, lease: t.lease, e: t.lease.Entry(), ctx: ctx, g: g, schedule: g.Schedule(), reserved: t.place}
		a.run(release)
		g = nil
		todo = append(todo, a.next...)
	}
}

// idle waits until there may be something to lease.
func (q *Queue) idle(next time.Time, err error) {
	wait := maxWait
	switch {
	case q.leasing.Err() != nil:
		return
	case !errors.Is(err, ErrNoneDue):
		q.log.Error("the spool gives no entries", zap.Error(err))
		wait = troublePause
	case !next.IsZero():
		wait = min(wait, next.Sub(now()))
	}
	if q.notify == nil {
		wait = min(wait, pollWait)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-q.notify:
	case <-q.wake:
	case <-q.leasing.Done():
	}
}

// now is the time of the wall clock, as entries keep it.
func now() time.Time { return time.Now().Round(0) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
