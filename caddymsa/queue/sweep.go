package queue

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	// sweepPage is how many messages are looked at before the sweep rests.
	sweepPage = 100
	// sweepRest is how long it rests, as a multiple of how long it worked: deliveries go first. lookRest is
	// the same where it found nothing to do, as in a queue that a start finds as it was left.
	sweepRest, lookRest = 4, 19
)

// sweeps routes waiting jobs anew when the configuration's routes have changed.
type sweeps struct {
	stamp  string
	cancel context.CancelFunc
	mu     sync.Mutex // one at a time
}

// adopt makes a generation's settings the queue's, and begins a sweep where its routes differ. Only
// the scheduler calls it.
func (q *Queue) adopt(g Generation, s Settings) {
	stamp := g.Stamp()
	if stamp == q.sweeps.stamp {
		return
	}
	same := sameStamp(stamp, q.sweeps.stamp)
	q.sweeps.stamp = stamp
	q.lanes.use(s, g.Knows, now())
	if same {
		return
	}
	if q.sweeps.cancel != nil {
		q.sweeps.cancel()
	}
	ctx, cancel := context.WithCancel(q.leasing)
	q.sweeps.cancel = cancel
	q.group.Go(func() {
		defer cancel()
		q.sweeps.mu.Lock()
		defer q.sweeps.mu.Unlock()
		if err := q.sweep(ctx, g); err != nil && ctx.Err() == nil {
			q.log.Error("waiting messages could not all be routed anew; that is done when they are tried", zap.Error(err))
		}
	})
}

// sweep goes first to lanes that are no more, which nothing holds back, and then through all.
func (q *Queue) sweep(ctx context.Context, g Generation) error {
	var gone []string
	if err := q.spool.Lanes(ctx, func(l LaneInfo) bool {
		if l.Name != "" && !g.Knows(l.Name) {
			gone = append(gone, l.Name)
		}
		return true
	}); err != nil {
		return err
	}
	for _, name := range gone {
		q.lanes.unknownLane(name, now())
		for after := ""; ; {
			began := time.Now()
			ids, err := q.spool.InLane(ctx, name, after, sweepPage)
			if err != nil || len(ids) == 0 {
				if err != nil {
					return err
				}
				break
			}
			did, err := q.sweepPage(ctx, g, ids, began)
			if err != nil {
				return err
			}
			if after = ids[len(ids)-1]; !did { // what is left may be there for good; it is among all
				break
			}
		}
	}
	if q.noneStale(g) {
		return nil
	}
	for after := ""; ; {
		var ids []string
		n, began := 0, time.Now()
		err := q.spool.List(ctx, after, func(m *EntryView) bool {
			n++
			after = m.Entry.ID
			if slices.ContainsFunc(m.Jobs, func(j Job) bool { return q.stale(&j, g) }) {
				ids = append(ids, m.Entry.ID)
			}
			return n < sweepPage
		})
		if err != nil {
			return err
		}
		if _, err := q.sweepPage(ctx, g, ids, began); err != nil {
			return err
		}
		if n < sweepPage {
			return nil
		}
	}
}

// noneStale tells whether all jobs are known to have been routed by the same routes.
func (q *Queue) noneStale(g Generation) (none bool) {
	if q.stamper == nil {
		return false
	}
	err := Guarded(q.log, func() error {
		none = !slices.ContainsFunc(q.stamper.Stamps(), func(stamp string) bool { return !sameStamp(stamp, g.Stamp()) })
		return nil
	})
	return none && err == nil
}

// stale tells whether a waiting job was routed by other routes, that are not newer.
func (q *Queue) stale(j *Job, g Generation) bool {
	return j.Pending() && !j.Leased && j.Lane != "" && !sameStamp(j.Stamp, g.Stamp()) && !q.newer(j, g)
}

// sweepPage routes messages anew, whose search began then, and rests. It tells whether that changed something.
func (q *Queue) sweepPage(ctx context.Context, g Generation, ids []string, began time.Time) (did bool, err error) {
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return did, err
		}
		changed, err := q.reroute(ctx, g, id)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return did, err
		}
		did = did || changed
	}
	pause := sweepRest * time.Since(began)
	if len(ids) == 0 {
		pause = lookRest * time.Since(began)
	}
	rest := time.NewTimer(min(pause, time.Second))
	defer rest.Stop()
	select {
	case <-rest.C:
	case <-ctx.Done():
	}
	return did, ctx.Err()
}

var errUnchanged = errors.New("nothing has changed")

// reroute routes a message's waiting jobs anew; nothing is written where that changes nothing.
func (q *Queue) reroute(ctx context.Context, g Generation, id string) (did bool, err error) {
	m, err := q.spool.Get(ctx, id)
	if err != nil {
		return false, err
	}
	changed := make(map[int]rerouted)
	for i := range m.Jobs {
		if j := &m.Jobs[i]; q.stale(j, g) {
			if jobs := q.routeAnew(ctx, g, m, j); jobs != nil {
				changed[j.Number] = rerouted{jobs: jobs, was: *j}
			}
		}
	}
	if len(changed) == 0 {
		return false, nil
	}
	_, err = q.spool.Change(ctx, id, func(m *EntryView) error {
		did = false
		for i := range len(m.Jobs) {
			j := &m.Jobs[i]
			to, ok := changed[j.Number]
			if was := &to.was; !ok || j.Leased || j.Lane != was.Lane || j.Attempts != was.Attempts || j.Warned != was.Warned || j.Last != was.Last {
				continue // somebody was faster
			}
			*j, did = to.jobs[0], true
			m.Jobs = append(m.Jobs, to.jobs[1:]...)
		}
		if !did {
			return errUnchanged
		}
		return nil
	})
	if errors.Is(err, errUnchanged) {
		return false, nil
	}
	return did && err == nil, err
}

// rerouted is what becomes of a job that was as it is said here.
type rerouted struct {
	jobs []Job
	was  Job
}

// routeAnew returns the jobs that a job becomes; nil where it stays in its lane, and is to be looked at no earlier. What is
// looked at too early is put off then.
func (q *Queue) routeAnew(ctx context.Context, g Generation, m *EntryView, j *Job) []Job {
	a := &attempt{q: q, e: m.Status.rerouted(m.Entry, j), job: j, status: &m.Status, g: g, ctx: ctx}
	a.rec.At = now()
	groups := a.routeAll()
	jobs := a.split(groups)
	if len(groups) == 1 && groups[0].Lane == j.Lane {
		if jobs[0].Deadline.Before(j.Deadline) {
			jobs[0].Due = j.Due
			return jobs
		}
		return nil
	}
	for i := range jobs {
		jobs[i].Due = a.rec.At
	}
	return jobs
}
