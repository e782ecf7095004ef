package queue

import (
	"container/heap"
	"time"
)

// tick looks after the lanes whose time has come, and returns when the next one's does.
func (ls *lanes) tick(at time.Time) time.Time {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.watchClock(at)
	for len(ls.timers) > 0 && !ls.timers[0].timer.After(at) {
		l := ls.timers[0]
		ls.setTimer(l, time.Time{})
		ls.tell(l, at)
	}
	if len(ls.timers) == 0 {
		return time.Time{}
	}
	return ls.timers[0].timer
}

// forget drops lanes of which nothing is to be known, a few at a time.
func (ls *lanes) forget(at time.Time) {
	looked := 0
	for name, l := range ls.m { // in no order
		if looked++; looked > 3 {
			return
		}
		if l.idle(at) {
			l.up()
			ls.share(l)
			ls.setTimer(l, time.Time{})
			if l.told != NewLane {
				ls.spool.SetLane(name, NewLane)
			}
			delete(ls.m, name)
		}
	}
}

// idle tells whether nothing has gone to the lane for so long that nothing is to be known of it. One that is down is
// looked at by the node that would try it next.
func (l *lane) idle(at time.Time) bool {
	if l.visits > 0 || len(l.direct) > 0 || l.paused != "" || at.Sub(l.used) <= forgetAfter {
		return false
	}
	return l.failures == 0 || l.probes() && at.Sub(l.used) > forgetDownAfter && at.Sub(l.probe) > forgetAfter
}

// laneTimers is a heap of lanes by when they are looked at again.
type laneTimers []*lane

func (ls *lanes) setTimer(l *lane, at time.Time) {
	switch {
	case at.IsZero() && l.pos == 0:
	case at.IsZero():
		heap.Remove(&ls.timers, l.pos-1)
	case l.pos == 0:
		l.timer = at
		heap.Push(&ls.timers, l)
		if ls.timers[0] == l {
			ls.wake()
		}
	default:
		l.timer = at
		heap.Fix(&ls.timers, l.pos-1)
		if ls.timers[0] == l {
			ls.wake()
		}
	}
}

func (t laneTimers) Len() int { return len(t) }

func (t laneTimers) Less(i, j int) bool { return t[i].timer.Before(t[j].timer) }

func (t laneTimers) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].pos, t[j].pos = i+1, j+1
}

func (t *laneTimers) Push(x any) {
	l := x.(*lane)
	*t = append(*t, l)
	l.pos = len(*t)
}

func (t *laneTimers) Pop() any {
	old := *t
	l := old[len(old)-1]
	old[len(old)-1] = nil
	l.pos = 0
	*t = old[:len(old)-1]
	return l
}
