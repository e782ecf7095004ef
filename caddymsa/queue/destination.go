package queue

import (
	"reflect"
	"sync"
	"time"
)

// Destinations is an optional interface of a Sink that takes messages to several places, or that
// a place can have too much of. A sink without it is one destination, as long as it lives.
type Destinations interface {
	// Destination tells where the recipient's message goes.
	Destination(e *Entry, r *Recipient) Destination
}

// Destination is a place that messages go to. If it cannot be reached, that is known of it and
// not of each message.
type Destination struct {
	// Name tells the sink's destinations apart, and is the same in the next configuration,
	// such as host:port.
	Name string
	// Concurrency is how many attempts there may run at once. Zero: as many as there are workers.
	Concurrency int
	// Rate is how many messages it takes in a time; the queue keeps to it.
	Rate Rate
}

// Waits between the probes of a destination that is down.
const (
	firstProbe = 15 * time.Second
	lastProbe  = 5 * time.Minute
	// probeTime is how long others wait that come while it is being probed.
	probeTime = 30 * time.Second
)

// maxParked bounds the entries that wait in memory for a turn at one destination.
const maxParked = 256

// overflow is how long those wait at least that do not fit in there, and twice that at most.
const overflow = 15 * time.Second

// placeKey tells destinations apart.
type placeKey struct {
	route, name string
	sink        uintptr // of a sink that has no names
}

func keyOf(p *part) placeKey {
	k := placeKey{route: p.name, name: p.destination.Name}
	if v := reflect.ValueOf(p.sink); k.name == "" && v.Kind() == reflect.Pointer {
		k.sink = v.Pointer()
	}
	return k
}

// place is what the queue knows of a destination.
type place struct {
	running int
	parked  []Lease // their turn comes when an attempt ends

	failures int // to reach it, in a row
	probe    time.Time
	probing  bool
	cause    error
}

// places are the destinations that are in use or down.
type places struct {
	mu sync.Mutex
	m  map[placeKey]*place
}

// entry is what a destination says to an attempt.
type entry struct {
	free  bool
	until time.Time // not free because it is down
	cause error
}

// enter asks for a turn. reserved: the caller has one already, from leave.
func (ps *places) enter(k placeKey, concurrency int, reserved bool, at time.Time, random func(int64) int64) entry {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p := ps.m[k]
	if p == nil {
		p = new(place)
		if ps.m == nil {
			ps.m = make(map[placeKey]*place)
		}
		if len(ps.m) >= manyPlaces {
			ps.forget(at)
		}
		ps.m[k] = p
	}
	if p.failures > 0 {
		switch {
		case p.probing:
			return entry{until: spread(at.Add(probeTime), probeTime, random), cause: p.cause}
		case at.Before(p.probe):
			return entry{until: spread(p.probe, p.probe.Sub(at), random), cause: p.cause}
		}
		p.probing = true
	}
	if !reserved {
		if concurrency > 0 && p.running >= concurrency {
			return entry{}
		}
		p.running++
	}
	return entry{free: true}
}

// manyPlaces is when those are forgotten that nobody has asked about for long.
const manyPlaces = 1000

func (ps *places) forget(at time.Time) {
	for k, p := range ps.m {
		if p.running == 0 && at.Sub(p.probe) > lastProbe {
			delete(ps.m, k)
		}
	}
}

// spread adds up to a quarter of the wait, so that not all come at once.
func spread(at time.Time, wait time.Duration, random func(int64) int64) time.Time {
	return at.Add(time.Duration(random(max(1, int64(wait/4)))))
}

// reached notes whether an attempt got through to the destination.
func (ps *places) reached(k placeKey, err error, at time.Time, random func(int64) int64) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p := ps.m[k]
	switch {
	case p == nil:
	case !IsUnreachable(err):
		p.failures, p.probing, p.cause = 0, false, nil
	case p.failures > 0 && !p.probing: // it began before the destination was known to be down
	default:
		p.failures++
		wait := min(firstProbe<<min(p.failures-1, 10), lastProbe)
		p.probe, p.probing, p.cause = spread(at.Add(wait), wait, random), false, err
	}
}

// probeNow forgets when destinations that are down are to be probed: the next entry is a probe.
func (ps *places) probeNow() {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for _, p := range ps.m {
		p.probe = time.Time{}
	}
}

// abandon ends a probe that found out nothing.
func (ps *places) abandon(k placeKey) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if p := ps.m[k]; p != nil {
		p.probing = false
	}
}

// park keeps an entry until it is its turn; false when too many are kept, or there is room by now.
func (ps *places) park(k placeKey, concurrency int, l Lease) bool {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p := ps.m[k]
	if p == nil || p.running < concurrency || len(p.parked) >= maxParked {
		return false
	}
	p.parked = append(p.parked, l)
	return true
}

// leave ends a turn and gives it to the entry that has waited longest, which is returned.
func (ps *places) leave(k placeKey) Lease {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p := ps.m[k]
	if p == nil {
		return nil
	}
	if len(p.parked) > 0 {
		l := p.parked[0]
		p.parked[0] = nil
		p.parked = p.parked[1:]
		return l
	}
	if p.running--; p.running == 0 && p.failures == 0 {
		delete(ps.m, k)
	}
	return nil
}

// giveUp gives back all that is parked, since nobody is left to take a turn, and the turn at k.
func (ps *places) giveUp(k *placeKey) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for _, p := range ps.m {
		for _, l := range p.parked {
			l.Release()
		}
		p.parked = nil
	}
	if k != nil {
		ps.m[*k].running--
	}
}
