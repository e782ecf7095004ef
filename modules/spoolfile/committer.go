package spoolfile

import (
	"runtime"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// edit is one key's part of a change.
type edit struct {
	key []byte
	// value is all of it one after the other; nil deletes the key.
	value [][]byte
}

func set(key, value []byte) edit { return edit{key, [][]byte{value}} }

// change is what is committed as one.
type change struct {
	writes []edit
	facts  []byte        // a record for the journal
	place  atomic.Uint64 // its place there, once it has one
	size   int
	done   chan error
	// patient: no client waits for it.
	patient bool
}

// patience is how long a commit that no client waits for may wait for one that shares its sync.
const patience = time.Millisecond

// yielding is how often others may run before a group is closed.
const yielding = 3

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
		for yields := 0; size < maxBatch; {
			c := e.next(wait)
			if c == nil {
				if yields == yielding {
					break
				}
				// Who is about to commit and only waits for a processor comes first: it costs nothing where there is nobody.
				wait = nil
				yields++
				runtime.Gosched()
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
		for _, w := range c.writes {
			if err := w.to(b); err != nil {
				return err
			}
		}
		if c.facts != nil {
			seq := e.seq.place(len(c.facts))
			c.place.Store(seq)
			if err := b.Set(factKey(seq), c.facts, nil); err != nil {
				return err
			}
		}
	}
	if err := e.db.Apply(b, pebble.Sync); err != nil {
		return err
	}
	e.seq.durable()
	return nil
}

func (w *edit) to(b *pebble.Batch) error {
	if w.value == nil {
		return b.Delete(w.key, nil)
	}
	op := b.SetDeferred(len(w.key), w.len())
	copy(op.Key, w.key)
	v := op.Value
	for _, p := range w.value {
		v = v[copy(v, p):]
	}
	return op.Finish()
}

func (w *edit) len() (n int) {
	for _, p := range w.value {
		n += len(p)
	}
	return n
}
