package notify

import (
	"math/rand/v2"
	"time"
)

// Waits between attempts: each twice as long as the one before.
const (
	firstWait = time.Second
	// longestWait is for a receiver that does not answer, or answers that it cannot.
	longestWait = 5 * time.Minute
	// longestRefused is for an event that the receiver does not take although it takes others.
	longestRefused = time.Hour
)

// backoff is how long to wait after so many failures, with a fifth added by chance so that what failed together is not tried
// together again.
func backoff(failures int, longest time.Duration) time.Duration {
	wait := longest
	if failures < 20 {
		wait = min(longest, firstWait<<max(failures-1, 0))
	}
	return wait + rand.N(wait/5+1)
}

// refusedInRow is how many messages a receiver refuses, and takes nothing meanwhile, until that says more of it than of them.
const refusedInRow = 5

// receiver is what is known of who is told, where that is one.
type receiver struct {
	failures int             // since the last success, that count against it
	failing  map[string]bool // the lanes that failed since then, some of them
	since    time.Time       // of the first failure
	told     time.Time       // the last success
	counted  time.Time       // the last of failures
	down     bool
	until    time.Time // it is left alone, if down
}

// failed counts a failure of a lane, asked at a time, and tells whether the receiver is down from now on. However many were asked at once
// of a receiver that is down, they are one failure: else each outage would begin with the longest wait.
func (r *receiver) failed(now, asked time.Time, l *lane, f failure) (fell bool) {
	if !r.down && !f.receiver && l.since.Before(r.told) {
		return false // it took others since
	}
	if r.down && asked.Before(r.counted) {
		if after := now.Add(f.after); after.After(r.until) {
			r.until = after
		}
		return false
	}
	if len(r.failing) == 0 {
		r.since, r.failing = now, make(map[string]bool)
	}
	if len(r.failing) < refusedInRow {
		r.failing[l.key] = true
	}
	if f.refused && !r.down && len(r.failing) < refusedInRow {
		return false
	}
	r.failures++
	r.counted = now
	if !r.down && !f.refused && !f.receiver && len(r.failing) == 1 {
		return false // it may be this event
	}
	fell = !r.down
	r.down, r.until = true, now.Add(max(backoff(r.failures, longestWait), f.after))
	return fell
}

// succeeded tells since when the receiver was down, if it was.
func (r *receiver) succeeded(now time.Time) (since time.Time, rose bool) {
	since, rose = r.since, r.down
	*r = receiver{told: now}
	return since, rose
}
