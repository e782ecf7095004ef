package queue

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode"
)

const (
	// firstAtOnce is with how many attempts at once a lane begins; each success adds one.
	firstAtOnce = 2
	// provenFor is how long a success vouches for a lane.
	provenFor = time.Minute
	// laneShare of the workers is what one lane takes at most, unprovenShare what those lanes take
	// together of which no success is known.
	laneShare, unprovenShare = 4, 2
	// rateBurst is for how long a lane with a rate may make up for.
	rateBurst = 50 * time.Millisecond
	// forgetAfter is when a lane is forgotten that nothing goes to, and of which nothing is to be known.
	forgetAfter = 10 * time.Minute
	// forgetDownAfter is the same for one that is down, where messages may wait for their next attempt.
	forgetDownAfter = time.Hour
)

// laneTeller is what the table needs of a spool.
type laneTeller interface {
	SetLane(name string, s LaneState)
}

// lanes is what the queue knows of lanes. It tells the spool what changes of them.
type lanes struct {
	spool  laneTeller
	sharer LaneSharer // nil: this node is alone
	rand   func(int64) int64
	wake   func() // places came free that somebody may wait for

	mu       sync.Mutex
	m        map[string]*lane
	timers   laneTimers
	latest   time.Time // of tick
	settings Settings
	unproven int // workers that have a job of a lane that was not proven when they got it, those set aside excepted
}

// lane is one of them.
type lane struct {
	name        string
	destination Destination
	known       bool // its limits are
	place       int  // of this node among those that share it
	nodes       int
	part        Destination // with this node's part of the limits
	none        bool        // it has no part
	unknown     bool        // the configuration does not know it: it is never held back
	atOnce      int
	visits      int      // under way
	own         int      // of those: beside the spool's jobs
	direct      []*place // wait for a place beside the spool's jobs

	success, used time.Time
	good          bool // the last visit was a success
	answer        string

	since    time.Time // of being down or paused
	fell     time.Time // when it went down, if it is
	failures int       // to reach it, in a row
	probe    time.Time
	probing  bool
	cause    error
	paused   string
	suspect  suspicion
	left     time.Time // until then to nodes with a newer configuration

	allowance float64 // messages that the rate lets pass
	counted   time.Time

	told   LaneState
	shared LaneCondition
	timer  time.Time // when it is looked at again
	pos    int       // among the timers, from 1 on
}

// suspicion is a failure that may be the lane's: it is, if another user meets it too.
type suspicion struct{ text, user string }

// place waits for a turn beside the spool.
type place struct {
	given chan struct{}
	visit *visit
}

// visit is one attempt in a lane.
type visit struct {
	lane  *lane
	probe bool
	own   bool // beside the spool's jobs
}

func (ls *lanes) get(name string) *lane {
	l := ls.m[name]
	if l == nil {
		l = &lane{name: name, atOnce: firstAtOnce, told: NewLane, shared: LaneCondition{Lane: name}}
		ls.find(l)
		if ls.m == nil {
			ls.m = make(map[string]*lane)
		}
		ls.m[name] = l
	}
	return l
}

// errBlocked says that a lane takes nothing at the moment.
var errBlocked = errors.New("the lane takes nothing at the moment")

// enter begins a visit for a job that the spool leased; errBlocked if the lane was closed meanwhile.
func (ls *lanes) enter(name string, d Destination, at time.Time) (*visit, error) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l := ls.get(name)
	l.learn(d, at)
	full := ls.sharer != nil && (l.none || l.part.Concurrency > 0 && l.visits >= l.part.Concurrency) // the spool did not know yet
	full = full || l.failures == 0 && !l.passes(at)
	if !l.unknown && (full || l.paused != "" || l.failures > 0 && (l.probing || at.Before(l.probe) || !l.probes())) {
		ls.tell(l, at)
		return nil, errBlocked
	}
	v := ls.begin(l, at)
	ls.tell(l, at)
	return v, nil
}

func (ls *lanes) begin(l *lane, at time.Time) *visit {
	v := &visit{lane: l}
	if l.failures > 0 {
		l.probing, v.probe = true, true
	}
	l.visits++
	l.used = at
	l.accrue(at)
	l.allowance--
	return v
}

// wait begins a visit of the caller's own, beside the spool's jobs, as soon as there is a place.
func (ls *lanes) wait(name string, d Destination, at time.Time) *place {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l := ls.get(name)
	l.learn(d, at)
	p := &place{given: make(chan struct{})}
	l.direct = append(l.direct, p)
	ls.tell(l, at)
	return p
}

// leaveWait ends a wait that was in vain; false if the place was given meanwhile.
func (ls *lanes) leaveWait(name string, p *place, at time.Time) bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l := ls.get(name)
	for i, other := range l.direct {
		if other == p {
			l.direct = append(l.direct[:i:i], l.direct[i+1:]...)
			ls.tell(l, at)
			return true
		}
	}
	return false
}

// learn notes what the destination says of itself.
func (l *lane) learn(d Destination, at time.Time) {
	if !l.known || l.destination != d {
		anew := l.counted.IsZero() || l.destination.Rate != d.Rate // else a reload would let one more pass
		if l.destination, l.known = d, true; anew {
			l.part = d
		}
		if l.divide(at); anew {
			l.counted, l.allowance = at, l.burst()
		}
	}
	l.used = at
}

// leave ends a visit.
func (ls *lanes) leave(v *visit, r reached, at time.Time) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l := v.lane
	l.visits--
	if v.own {
		l.own--
	}
	l.used = at
	if v.probe {
		l.probing = false
	}
	if r.answer != "" {
		l.answer = r.answer
	}
	switch {
	case r.interrupted:
	case r.success:
		l.success, l.good = at, true
		l.atOnce++
		l.up()
	case r.unreachable != nil:
		l.good = false
		if l.failures == 0 || v.probe { // else it began before the lane was known to be down
			ls.down(l, r.unreachable, at)
		}
	case r.suspect != nil:
		l.good = false
		s := suspicion{text: failureText(r.suspect), user: r.user}
		switch {
		case v.probe, l.suspect.text == s.text && l.suspect.user != s.user:
			ls.down(l, r.suspect, at)
		default:
			l.suspect = s
		}
	default: // it answers, whatever it says of this message
		l.up()
	}
	if l.known {
		l.atOnce = min(l.atOnce, 1<<20)
		if c := l.destination.Concurrency; c > 0 {
			l.atOnce = min(l.atOnce, c)
		}
	}
	ls.tell(l, at)
	ls.forget(at)
}

func (l *lane) up() {
	l.failures, l.cause, l.suspect, l.fell = 0, nil, suspicion{}, time.Time{}
	if l.paused == "" {
		l.since = time.Time{}
	}
}

// down notes a failure to reach the lane and plans the next probe.
func (ls *lanes) down(l *lane, cause error, at time.Time) {
	if l.failures == 0 {
		l.fell = at
		if l.paused == "" {
			l.since = at
		}
	}
	l.failures++
	l.atOnce = firstAtOnce
	wait := min(ls.settings.FirstProbe<<min(l.failures-1, 20), ls.settings.LastProbe)
	if wait <= 0 {
		wait = ls.settings.LastProbe
	}
	wait = max(wait, askedFor(cause))
	l.probe = at.Add(wait + time.Duration(ls.rand(max(1, int64(wait/4)))))
	l.cause = cause
}

// use applies a generation's settings. Lanes that are down are probed at once: somebody may have
// mended what was wrong. those it does not know are let go.
func (ls *lanes) use(s Settings, knows func(string) bool, at time.Time) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.settings = s
	for _, l := range ls.m {
		if l.unknown = !knows(l.name); l.unknown {
			l.used = at
		}
		l.known = false // limits may differ
		l.probe, l.left = time.Time{}, time.Time{}
		ls.tell(l, at)
	}
}

// unknownLane lets go of a lane that the configuration does not know.
func (ls *lanes) unknownLane(name string, at time.Time) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l := ls.get(name)
	l.unknown, l.used = true, at
	ls.tell(l, at)
}

// blocked tells why a lane takes nothing, apart from its being busy; nil if it does.
func (ls *lanes) blocked(name string) error {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l := ls.m[name]
	switch {
	case l == nil || l.unknown:
		return nil
	case l.paused != "":
		return fmt.Errorf("%w: %s", errBlocked, l.paused)
	case l.failures > 0:
		return l.cause
	}
	return nil
}

// steer applies f to the lane of a name, and tells the spool.
func (ls *lanes) steer(name string, at time.Time, f func(*lane)) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l := ls.get(name)
	l.used = at
	f(l)
	ls.tell(l, at)
}

// steerAll applies f to all lanes.
func (ls *lanes) steerAll(at time.Time, f func(*lane)) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for _, l := range ls.m {
		f(l)
		ls.tell(l, at)
	}
}

// failureText is what two failures have in common that are one: without numbers and ids.
func failureText(err error) string {
	words := strings.FieldsFunc(causeText(err), func(c rune) bool { return unicode.IsSpace(c) || c == '<' || c == '>' || c == '"' })
	kept := words[:0]
	for i, w := range words {
		if i > 1 && strings.ContainsFunc(w, func(c rune) bool { return unicode.IsDigit(c) || c == '@' }) {
			continue
		}
		kept = append(kept, strings.ToLower(w))
	}
	return strings.Join(kept, " ")
}
