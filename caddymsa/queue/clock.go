package queue

import "time"

// clockBack is by how much time must go back for the clock to have been set.
const clockBack = time.Minute

// watchClock notices that the clock was ahead: what it said of lanes would else keep them from being tried for as long.
func (ls *lanes) watchClock(at time.Time) {
	if !at.Before(ls.latest.Add(-clockBack)) {
		if at.After(ls.latest) {
			ls.latest = at
		}
		return
	}
	ls.latest = at
	for _, l := range ls.m {
		for _, t := range []*time.Time{&l.success, &l.used, &l.since, &l.fell, &l.probe, &l.counted, &l.left} {
			if t.After(at) {
				*t = at
			}
		}
		ls.tell(l, at)
	}
}
