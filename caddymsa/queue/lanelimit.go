package queue

import "time"

// proven: a visit that fails ends it, and one whose success is long ago has a limit of one.
func (l *lane) proven() bool { return l.good || l.unknown }

// claim counts a job of the lane that a worker has got, and tells whether the lane is one of those of
// which no success is known; the worker calls unclaim then.
func (ls *lanes) claim(name string) (unproven bool) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if l := ls.m[name]; name == "" || l != nil && l.proven() {
		return false
	}
	ls.unproven++
	return true
}

func (ls *lanes) unclaim() {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.unproven--
}

// burst is how many messages a rate lets pass at once.
func (l *lane) burst() float64 {
	r := l.part.Rate
	if r.Messages <= 0 || r.Per <= 0 {
		return 1
	}
	return max(1, float64(r.Messages)*float64(rateBurst)/float64(r.Per))
}

// rated tells whether there is a rate.
func (l *lane) rated() bool { return l.part.Rate.Messages > 0 && l.part.Rate.Per > 0 }

// accrue counts what the rate lets pass by now.
func (l *lane) accrue(at time.Time) {
	if !l.rated() {
		l.allowance, l.counted = 1, at
		return
	}
	r := l.part.Rate
	if passed := at.Sub(l.counted); passed > 0 {
		l.allowance = min(l.burst(), l.allowance+float64(passed)*float64(r.Messages)/float64(r.Per))
	}
	l.counted = at
}

// passes tells whether the rate lets a message pass now.
func (l *lane) passes(at time.Time) bool {
	if !l.rated() {
		return true
	}
	l.accrue(at)
	return l.pass() > 0
}

// pass is how many messages the rate lets pass, as it was counted last.
func (l *lane) pass() int { return int(l.allowance + 1e-9) }

// limit is how many visits there may be at once at this moment, and when that changes by itself.
func (ls *lanes) limit(l *lane, at time.Time) (n int, again time.Time) {
	switch {
	case at.Before(l.left):
		return 0, l.left
	case l.unknown:
		return -1, time.Time{}
	case l.paused != "":
		return 0, time.Time{}
	case l.failures > 0 && (l.probing || !l.probes()):
		return 0, time.Time{}
	case l.failures > 0 && at.Before(l.probe):
		return 0, l.probe
	case l.failures > 0:
		return l.visits + 1, time.Time{}
	case l.known && l.none:
		return 0, time.Time{}
	}
	n = l.atOnce
	if c := l.part.Concurrency; c > 0 {
		n = min(n, c)
	}
	n = min(n, max(1, ls.settings.Workers/laneShare))
	if l.good && at.Sub(l.success) >= provenFor { // one to see whether it still answers
		n = 1
	}
	if !l.known {
		n = min(n, NewLane.Limit)
	}
	if r := l.part.Rate; l.known && l.rated() {
		l.accrue(at)
		if pass := l.pass(); l.visits+pass < n {
			n = 0
			if pass > 0 {
				n = l.visits + pass
			}
			again = at.Add(time.Duration((float64(pass)+1-l.allowance)*float64(r.Per)/float64(r.Messages)) + time.Microsecond)
		}
	}
	if l.good {
		if ends := l.success.Add(provenFor); at.Before(ends) && (again.IsZero() || ends.Before(again)) {
			again = ends
		}
	}
	return n, again
}

// tell gives places to those who wait beside the spool, and tells it what has changed.
func (ls *lanes) tell(l *lane, at time.Time) {
	n, again := ls.limit(l, at)
	for len(l.direct) > 0 && (n < 0 || l.visits < n) {
		p := l.direct[0]
		l.direct = l.direct[1:]
		p.visit = ls.begin(l, at)
		p.visit.own = true
		l.own++
		close(p.given)
		n, again = ls.limit(l, at)
	}
	if n > 0 {
		n = max(0, n-len(l.direct)-l.own)
	}
	s := LaneState{Limit: n, Proven: l.proven(), Probe: l.failures > 0}
	if s != l.told {
		l.told = s
		ls.spool.SetLane(l.name, s)
		ls.wake()
	}
	ls.share(l)
	ls.setTimer(l, again)
}

// full tells whether lanes that are not proven have all the places that they get.
func (ls *lanes) full() bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return ls.unproven >= max(1, ls.settings.Workers/unprovenShare)
}
