package queue

import "sync/atomic"

// idleWorkers is how many goroutines wait for something to do.
const idleWorkers = 16

// workers are the goroutines that attempts run in. Some are kept for the next attempt: a new one begins with a stack that
// an attempt outgrows at once.
type workers struct {
	work chan func()
	idle atomic.Int32
}

// do has f run by a worker that is idle, or a new one.
func (w *workers) do(q *Queue, f func()) {
	q.group.Add(1)
	select {
	case w.work <- f:
	default:
		go w.worker(q, f)
	}
}

func (w *workers) worker(q *Queue, f func()) {
	for {
		func() {
			defer q.group.Done()
			f()
		}()
		if w.idle.Add(1) > idleWorkers {
			w.idle.Add(-1)
			return
		}
		select {
		case f = <-w.work:
			w.idle.Add(-1)
		case <-q.leasing.Done():
			return
		}
	}
}
