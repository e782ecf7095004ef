package spoolfile

import (
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// change is one entry's part of a shared commit.
type change struct {
	id     string
	record []byte   // nil deletes the entry
	body   [][]byte // stored under the body key when not nil
	size   int
	done   chan error
	// patient: no client waits for it.
	patient bool
}

// patience is how long a commit that no client waits for may wait for one that shares its sync.
const patience = time.Millisecond

// run commits what is there together: one write and one sync for all.
func (e *engine) run() {
	defer close(e.done)
	defer e.guard()
	company := time.NewTimer(patience)
	defer company.Stop()
	for first := range e.changes {
		company.Reset(patience)
		group, size := []*change{first}, first.size
		wait := company.C // nil once somebody is in a hurry, or the time is over
		if !first.patient {
			wait = nil
		}
		for size < maxBatch {
			c := e.next(wait)
			if c == nil {
				if wait == nil {
					break
				}
				wait = nil // once more: some may have come at the last moment
				continue
			}
			group = append(group, c)
			size += c.size
			if !c.patient {
				wait = nil
			}
		}
		err := e.apply(group, size)
		for _, c := range group {
			c.done <- err
		}
	}
}

// next returns a change that is there already, or one that comes before the wait is
// over; nil if there is none.
func (e *engine) next(wait <-chan time.Time) *change {
	if wait == nil {
		select {
		case c := <-e.changes:
			return c
		default:
			return nil
		}
	}
	select {
	case c := <-e.changes: // nil when closed
		return c
	case <-wait:
		return nil
	}
}

func (e *engine) apply(group []*change, size int) error {
	b := e.db.NewBatchWithSize(size + 64*len(group) + 16)
	defer b.Close()
	for _, c := range group {
		if c.record == nil {
			if err := b.Delete(envelopeKey(c.id), nil); err != nil {
				return err
			}
			if err := b.Delete(bodyKey(c.id), nil); err != nil {
				return err
			}
			continue
		}
		if err := b.Set(envelopeKey(c.id), c.record, nil); err != nil {
			return err
		}
		if c.body == nil {
			continue
		}
		key, n := bodyKey(c.id), 0
		for _, p := range c.body {
			n += len(p)
		}
		op := b.SetDeferred(len(key), n)
		copy(op.Key, key)
		v := op.Value
		for _, p := range c.body {
			v = v[copy(v, p):]
		}
		if err := op.Finish(); err != nil {
			return err
		}
	}
	return e.db.Apply(b, pebble.Sync)
}
