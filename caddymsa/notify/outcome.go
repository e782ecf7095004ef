package notify

import (
	"time"

	"go.uber.org/zap"
)

// finish is the end of a call.
func (t *tail) finish(r result) {
	l, now := r.lane, time.Now()
	l.busy = false
	t.inFlight--
	if l.failures > 0 {
		t.trying--
	}
	switch {
	case r.err == nil:
		t.told(l, now)
	case t.ctx.Err() != nil: // it was taken back
		t.enqueue(l)
		return
	default:
		t.failed(r, now)
	}
	t.next(l)
}

// told is a success.
func (t *tail) told(l *lane, now time.Time) {
	t.observe(Told)
	l.failures, l.since, l.refused = 0, time.Time{}, false
	t.pop(l)
	since, rose := t.receiver.succeeded(now)
	if !rose {
		if t.ByUser || len(t.failing) == 0 {
			t.lastError = ""
		}
		return
	}
	t.lastError = ""
	t.Log.Info("the receiver takes events again", zap.Time("since", since))
	for other := range t.failing { // what failed because it was down
		if !other.since.Before(since) {
			other.due = now
		}
	}
}

// failed is a failure.
func (t *tail) failed(r result, now time.Time) {
	t.observe(Failed)
	l, err := r.lane, r.err
	t.lastError = err.Error()
	f, e := failureOf(err), l.items[0].event
	if l.failures++; l.failures == 1 {
		l.since = now
	}
	l.refused = f.refused
	longest := longestWait
	if f.refused {
		longest = longestRefused
	}
	l.due = now.Add(max(backoff(l.failures, longest), f.after))
	fell := false
	if !t.ByUser {
		fell = t.receiver.failed(now, r.began, l, f)
	}
	fields := append(describe(e), zap.Error(err), zap.Int("failures", l.failures))
	switch {
	case l.aside() && now.Sub(e.Fact.Time) > t.giveUp:
		t.abandon(l, 1, fields...)
	case fell:
		t.Log.Warn("the receiver takes no events; they wait, and it is tried again", fields...)
	case f.refused && l.failures == 1:
		t.complain("an event is refused; it is tried again, and others are told meanwhile", fields...)
	default:
		t.complain("an event cannot be told; it is tried again", fields...)
	}
}

// abandon gives up the first events of a lane.
func (t *tail) abandon(l *lane, events int, fields ...zap.Field) {
	t.Log.Error("events are given up: nobody will be told of them", append(fields, zap.Int("events", events), zap.String("of", l.key))...)
	for range events {
		t.observe(GivenUp)
		t.pop(l)
	}
	l.failures, l.since = 0, time.Time{}
}

// next has the lane go on, or forgets it.
func (t *tail) next(l *lane) {
	switch {
	case len(l.items) > 0:
		t.enqueue(l)
	case !l.aside():
		delete(t.lanes, l.key)
	case l.more:
		if err := t.reload(t.ctx, l); err != nil {
			t.complain("cannot read the journal; it is tried again", zap.Error(err))
			t.starved = append(t.starved, l)
			return
		}
		t.next(l)
	default:
		t.leaveSlot(l)
	}
}

func (t *tail) observe(r Result) {
	if t.Observe != nil {
		t.Observe(r)
	}
}
