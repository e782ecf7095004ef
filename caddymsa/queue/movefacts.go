package queue

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
)

// facts are what the old spool's journal has of a message, the oldest first: they go along with it, marked as carried,
// and stay where they are too. What the new journal has already, of a move that was broken off, is left out.
func (m *move) facts(ctx context.Context, id string) ([]journal.Fact, error) {
	from, ok := m.from.Spool.(journal.Reader)
	if !ok {
		return nil, nil
	}
	to, ok := m.to.Spool.(journal.Reader)
	if !ok {
		return nil, nil
	}
	known := make(map[string]bool)
	if _, err := factsOf(ctx, m.to, to, id, known); err != nil {
		return nil, err
	}
	facts, err := factsOf(ctx, m.from, from, id, known)
	slices.Reverse(facts)
	return facts, err
}

// factsOf returns a message's facts, as carried ones, that are not known yet, the latest first.
func factsOf(ctx context.Context, p Place, r journal.Reader, id string, known map[string]bool) (facts []journal.Fact, err error) {
	var broken error
	err = r.Facts(ctx, &journal.Query{ID: id}, func(f *journal.Fact) bool {
		if f.ID != id || f.What == journal.Moved { // it tells of the journal that it is in
			return true
		}
		c := *f
		c.Carried, c.Position = true, ""
		var text []byte
		if text, broken = json.Marshal(&c); broken != nil {
			return false
		}
		if !known[string(text)] {
			known[string(text)] = true
			facts = append(facts, c)
		}
		return true
	})
	if err == nil {
		err = broken
	}
	if err != nil {
		return nil, fmt.Errorf("spool %s: journal: %w", p.Name, err)
	}
	return facts, nil
}

// moved is what the old spool's journal has in the end.
func (m *move) moved(e *Entry) journal.Fact {
	f := e.Fact(journal.Moved, now())
	f.Text = m.to.Name
	return f
}
