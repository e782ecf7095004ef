package spoolfile

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// Facts that have no commit to ride on wait in memory for this long, and not more of them than this.
const (
	noteWait   = 2 * time.Second
	maxNotes   = 1000
	maxNoteOct = 1 << 20
	// noteShare is which part of the journal's size they may take.
	noteShare = 10
)

// book is the journal of a store.
type book struct {
	s       *Store
	limits  atomic.Pointer[journal.Limits]
	damaged atomic.Int64 // records that could not be read
	dropped atomic.Int64

	noted chan struct{} // some wait
	mu    sync.Mutex
	notes []journal.Fact
	size  int // of notes, about
}

func (b *book) init(s *Store) {
	b.s, b.noted = s, make(chan struct{}, 1)
	b.limits.Store(&journal.Limits{Keep: journal.DefaultKeep, MaxSize: journal.DefaultMaxSize})
}

// encode makes a record of facts; nil if there are none, or the journal is off.
func (b *book) encode(facts []journal.Fact) []byte {
	if len(facts) == 0 || b.limits.Load().Off {
		return nil
	}
	return encodeFacts(facts, 0)
}

// SetLimits implements journal.Keeper.
func (s *Store) SetLimits(l journal.Limits) { s.book.limits.Store(&l) }

// Note implements journal.Noter.
func (s *Store) Note(facts ...journal.Fact) {
	b := &s.book
	if b.limits.Load().Off {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range facts {
		n := noteSize(&facts[i])
		if len(b.notes) >= maxNotes || b.size+n > maxNoteOct {
			b.dropped.Add(int64(len(facts) - i))
			break
		}
		b.notes, b.size = append(b.notes, facts[i]), b.size+n
	}
	poke(b.noted)
}

// noteSize is what a fact takes, about.
func noteSize(f *journal.Fact) int {
	n := 200 + len(f.Text) + len(f.Reply) + len(f.User) + len(f.Sender)
	for _, r := range f.Recipients {
		n += 16 + len(r)
	}
	return n
}

// writeNotes commits what waits; if that fails it waits on.
func (b *book) writeNotes() error {
	b.mu.Lock()
	notes, size := b.notes, b.size
	b.notes, b.size = nil, 0
	b.mu.Unlock()
	record := b.encode(notes)
	if record == nil {
		return nil
	}
	err := b.s.commit(&change{facts: record, patient: true})
	if err != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		if over := len(notes) + len(b.notes) - maxNotes; over > 0 {
			b.dropped.Add(int64(over))
			b.notes = b.notes[:len(b.notes)-over]
		}
		b.notes, b.size = append(notes, b.notes...), size+b.size
	}
	return err
}

// keep does what the journal needs in the background, until the spool is closed.
func (b *book) keep() {
	defer b.s.watching.Done()
	for {
		select {
		case <-b.s.closing:
			return
		case <-b.noted:
			if !b.pause(noteWait) {
				return
			}
			if err := b.writeNotes(); err != nil {
				b.complain(err)
				poke(b.noted)
			}
		}
	}
}

// pause waits; false if the spool is closed meanwhile.
func (b *book) pause(d time.Duration) bool {
	select {
	case <-b.s.closing:
		return false
	case <-time.After(d):
		return true
	}
}

func (b *book) complain(err error) {
	if !isDown(err) && !errors.Is(err, context.Canceled) {
		b.s.log.Warn("the spool's journal", zap.Error(err))
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// maxCursorName bounds the names of cursors.
const maxCursorName = 512

// Cursor implements journal.Cursors.
func (s *Store) Cursor(ctx context.Context, name string) (journal.Position, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	return retried(ctx, s, func() (journal.Position, error) {
		eng, err := s.engine()
		if err != nil {
			return "", err
		}
		v, err := eng.get(bookKey(bookCursor, name))
		if errors.Is(err, pebble.ErrNotFound) {
			return "", nil
		}
		return journal.Position(v), eng.met(err)
	})
}

// SetCursor implements journal.Cursors.
func (s *Store) SetCursor(ctx context.Context, name string, p journal.Position) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, ok := readPosition(p); !ok || name == "" || len(name) > maxCursorName {
		return fmt.Errorf("journal: %q is not a position of cursor %q", p, name)
	}
	return s.commit(&change{writes: []edit{set(bookKey(bookCursor, name), []byte(p))}, patient: true})
}

// DropCursor implements journal.Cursors.
func (s *Store) DropCursor(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.commit(&change{writes: []edit{{key: bookKey(bookCursor, name)}}, patient: true})
}

// recorded tells whether a change was stored whose commit broke off: its facts are there with it, or neither is.
func (s *Store) recorded(eng *engine, c *change) (bool, error) {
	seq := c.place.Load()
	if seq == 0 {
		return false, nil
	}
	v, err := eng.get(factKey(seq))
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	return err == nil && string(v) == string(c.facts), eng.met(err)
}

// Interface guards
var (
	_ journal.Reader  = (*Store)(nil)
	_ journal.Noter   = (*Store)(nil)
	_ journal.Cursors = (*Store)(nil)
	_ queue.Spool     = (*Store)(nil)
)
