package queue

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/crew"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
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

// Queue delivers what lies in a spool. One goroutine, the scheduler, leases jobs
// and starts a worker for each, no more at once than the settings allow (seat).
type Queue struct {
	spool   Spool
	host    Host
	opts    Options
	log     *zap.Logger
	notify  <-chan struct{} // the spool's, or nil
	stamper Stamper         // the spool, or nil

	journal bool // the spool is one besides

	wake  chan struct{} // a generation came or went, or a lane has changed
	freed chan struct{} // a worker ended

	leasing     context.Context // ends when no more jobs are taken
	stopLeasing context.CancelFunc
	attempts    context.Context // the parent of all attempts
	cancel      context.CancelFunc

	start   sync.Once
	workers *crew.Crew
	running atomic.Int32 // of them
	aside   atomic.Int32 // attempts that were set aside
	lanes   lanes
	sweeps  sweeps
	recalls recalls
	group   sync.WaitGroup // the scheduler, the workers and the sweep
}

// New returns a queue that does nothing until Start.
func New(spool Spool, host Host, opts Options) *Queue {
	opts.setDefaults()
	q := &Queue{
		spool: Guard(spool, opts.Logger), host: host, opts: opts, log: opts.Logger,
		wake: make(chan struct{}, 1), freed: make(chan struct{}, 1),
	}
	q.lanes = lanes{spool: q.spool, rand: opts.Rand, wake: q.Wake, settings: Settings{Workers: 1}}
	if sharer, ok := spool.(LaneSharer); ok {
		q.lanes.sharer = &guardedSharer{sharer, q.log}
	}
	_, q.journal = spool.(journal.Journal)
	q.stamper, _ = spool.(Stamper)
	if n, ok := spool.(Notifier); ok {
		q.notify = n.Notify()
	}
	q.leasing, q.stopLeasing = context.WithCancel(context.Background())
	q.attempts, q.cancel = context.WithCancel(context.Background())
	q.recalls.parent = q.attempts
	q.workers = crew.New(q.leasing.Done())
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

// Stop takes no more jobs and waits for the attempts under way; when ctx ends
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
			zap.Int32("deliveries", q.running.Load()+q.aside.Load()))
	}
}

// schedule is the scheduler's goroutine.
func (q *Queue) schedule() {
	idle := time.NewTimer(0)
	defer idle.Stop()
	for q.leasing.Err() == nil {
		g, interrupt, ok := q.host.Acquire()
		if !ok {
			select {
			case <-q.wake:
			case <-q.leasing.Done():
			}
			continue
		}
		settings := g.Settings()
		q.lanes.hear(now())
		q.adopt(g, settings)
		if int(q.running.Load()) >= max(1, settings.Workers) {
			select {
			case <-q.freed:
			case <-q.wake:
			case <-q.heard():
			case <-q.leasing.Done():
			}
			continue
		}
		at := now()
		laneNext := q.lanes.tick(at)
		lease, next, err := q.spool.Lease(q.leasing, at, Want{Proven: q.lanes.full()})
		if err != nil {
			q.idle(idle, next, laneNext, err)
			continue
		}
		seat := q.take(lease.Job().Lane, settings.Workers)
		q.group.Add(1)
		q.workers.Go(func() {
			defer q.group.Done()
			defer seat.end()
			q.work(lease, g, interrupt)
		})
	}
}

// heard is when nodes that share lanes may have something to hear.
func (q *Queue) heard() <-chan struct{} {
	if q.lanes.sharer == nil {
		return nil
	}
	return q.notify
}

// idle waits until there may be something to lease.
func (q *Queue) idle(timer *time.Timer, next, laneNext time.Time, err error) {
	wait := maxWait
	switch {
	case q.leasing.Err() != nil:
		return
	case !errors.Is(err, ErrNoneDue):
		q.log.Error("the spool gives no jobs", zap.Error(err))
		wait = troublePause
	default:
		at := now()
		for _, t := range []time.Time{next, laneNext} {
			if !t.IsZero() {
				wait = min(wait, t.Sub(at))
			}
		}
	}
	if q.notify == nil {
		wait = min(wait, pollWait)
	}
	timer.Reset(wait)
	select {
	case <-timer.C:
	case <-q.notify:
	case <-q.wake:
	case <-q.freed:
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
