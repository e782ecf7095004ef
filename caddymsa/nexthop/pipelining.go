package nexthop

import (
	"errors"
	"regexp"
	"time"
)

// Some hops offer PIPELINING, or something in between lets them, and lose commands that come together, or hang up on them.
const (
	// maxUnanswered is how many new connections in a row may leave an envelope unanswered: one may have been anything else.
	maxUnanswered = 2
	// singlyFor is for how long a hop gets its commands one at a time then.
	singlyFor = time.Hour
)

var pipeliningWords = regexp.MustCompile(`(?i)pipelin|synchroni[sz]ation error`)

// resentsPipelining tells whether a hop says that it was told too much at once, which is no word on the message.
func (t *transaction) resentsPipelining(r reply) bool {
	return r.negative() && t.p.offers.pipelining && pipeliningWords.MatchString(r.smtp().Message)
}

// answers notes whether a hop that was sent commands at once has answered them.
func (h *Hop) answers(all bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if all {
		h.unanswered = 0
		return
	}
	if h.unanswered++; h.unanswered >= maxUnanswered {
		h.unanswered, h.singly = 0, time.Now()
	}
}

// distrust has it get them one at a time from then on, or not.
func (h *Hop) distrust(since time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.singly = since
}

// getsSingly tells whether it does.
func (h *Hop) getsSingly(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.singly.IsZero() && now.Sub(h.singly) < singlyFor
}

// unanswered notes that an envelope was not answered in full on a connection of which nothing else is known. What
// shows a limit of recipients is not that.
func (t *transaction) unanswered(err error) {
	switch {
	case t.p.served > 0 || t.ctx.Err() != nil || len(t.accepted) > 0 && !isTimeout(err):
	case t.p.offers.pipelining:
		t.hop.answers(false)
	default: // that was not why
		t.hop.distrust(time.Time{})
	}
}

var errTooFast = errors.New("the next hop offers PIPELINING and refuses it")
