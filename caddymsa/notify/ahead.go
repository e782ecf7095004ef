package notify

import (
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
)

// ahead counts what follows in the journal beyond what was taken in, so that the lag is known while the receiver takes nothing.
type ahead struct {
	at     journal.Position // counted up to here; "": nothing is
	count  int
	oldest time.Time
}

// lookAhead counts some more, now and then.
func (t *tail) lookAhead(now time.Time) {
	if now.Before(t.nextLook) {
		return
	}
	t.nextLook = now.Add(pollWait)
	a := &t.ahead
	if a.at == "" {
		a.at = t.readTo
	}
	facts, err := t.Journal.Follow(t.ctx, a.at, 10*page)
	if err != nil {
		return // reading says so
	}
	for i := range facts {
		if t.choose(&facts[i]) != nil {
			if a.count == 0 {
				a.oldest = facts[i].Time
			}
			a.count++
		}
		a.at = facts[i].Position
	}
}

// passed is when one of those that were counted is taken in.
func (a *ahead) passed() { a.count = max(0, a.count-1) }

// reached is when all up to a place were taken in.
func (a *ahead) reached(at journal.Position) {
	if a.at == at {
		*a = ahead{}
	}
}
