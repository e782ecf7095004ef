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

// patience is how long a commit may wait for others that share its sync. Where a client waits for it, it is half as long.
const patience = 3 * time.Millisecond

// company waits for changes that are to share a sync.
type company struct {
	timer   *time.Timer
	over    bool // the time is
	size    int
	clients int // how many wait
}

// add counts a change that has come.
func (w *company) add(c *change, patience time.Duration) {
	w.size += c.size
	if c.patient {
		return
	}
	if w.clients++; w.clients == 1 && !w.over {
		w.timer.Reset(patience / 2)
	}
}

// run commits what is there together: one write and one sync for all.
func (e *engine) run() {
	defer close(e.done)
	defer e.guard()
	wait := company{timer: time.NewTimer(time.Hour)}
	defer wait.timer.Stop()
	var group []*change
	for first := range e.changes {
		wait.timer.Reset(e.patience)
		wait.over, wait.size, wait.clients = false, 0, 0
		group = append(group[:0], first)
		wait.add(first, e.patience)
		for yielded := false; wait.size < maxBatch; {
			c := e.next(&wait)
			if c == nil {
				if yielded {
					break
				}
				// Who is about to commit and only waits for a processor comes first: it costs nothing where there is nobody.
				runtime.Gosched()
				yielded = true
				continue
			}
			group = append(group, c)
			wait.add(c, e.patience)
		}
		err := e.apply(group, wait.size)
		for _, c := range group {
			c.done <- err
		}
		clear(group)
	}
}

// next returns a change that is there already, or, if it is worth to wait, one that comes in time; nil if there is none.
//
// It is where no client waits yet, and where a quarter as many messages are being written as there are clients
// that wait: on a busy server the group grows to four of five. A client that is alone waits for nobody.
func (e *engine) next(wait *company) *change {
	worth := wait.clients == 0 || 4*int(e.coming.Load()) >= wait.clients
	if !worth || wait.over {
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
	case <-wait.timer.C:
		wait.over = true
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
