package spoolfile

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
)

// noteWait is how long facts that have no commit to ride on wait in memory.
const noteWait = 2 * time.Second

// book is the journal of a store.
type book struct {
	s       *Store
	limits  atomic.Pointer[journal.Limits]
	notes   journal.Notes
	damaged atomic.Int64 // records that could not be read

	noted, filled, due, short chan struct{} // what there is to do, see keep

	shelf atomic.Pointer[shelf]
	work  sync.Mutex // held by who changes what is kept
	freed int64      // octets that were forgotten and may be on the disk still
}

func (b *book) init(s *Store) {
	b.s = s
	b.limits.Store(new(journal.Limits))
	for _, c := range []*chan struct{}{&b.noted, &b.filled, &b.due, &b.short} {
		*c = make(chan struct{}, 1)
	}
}

// encode makes a record of facts; nil if there are none, or the journal is off.
func (b *book) encode(facts []journal.Fact) []byte {
	if len(facts) == 0 || b.limits.Load().Off {
		return nil
	}
	return encodeFacts(facts, 0)
}

// Note implements journal.Noter.
func (s *Store) Note(facts ...journal.Fact) {
	s.book.notes.Add(time.Now(), facts...)
	poke(s.book.noted)
}

// writeNotes commits what waits. If that fails it is lost: there is no room, or nothing can be stored.
func (b *book) writeNotes() error {
	notes := b.notes.Take()
	record := b.encode(notes)
	if record == nil {
		return nil
	}
	err := b.s.commit(&change{facts: record, patient: true})
	if err != nil {
		b.notes.Drop(len(notes))
	}
	return err
}

// keep does what the journal needs in the background, until the spool is closed.
func (b *book) keep() {
	defer b.s.watching.Done()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		<-b.s.closing
		cancel()
	}()
	tick := time.NewTicker(b.s.opts.journalPause)
	defer tick.Stop()
	poke(b.filled) // an earlier process may have left blocks without an index
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-b.noted:
			b.pause(ctx, noteWait)
			err = b.writeNotes()
		case <-b.filled:
			err = b.indexAll(ctx)
		case <-b.short:
			err = b.giveWay(ctx)
		case <-b.due:
			err = b.keepLimits(ctx)
		case <-tick.C:
			err = b.keepLimits(ctx)
		}
		if err != nil && ctx.Err() == nil && !isDown(err) {
			b.s.log.Warn("the spool's journal", zap.Error(err))
		}
	}
}

func (b *book) pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// indexAll makes the indexes that are wanting, and rests in between.
func (b *book) indexAll(ctx context.Context) error {
	for ctx.Err() == nil {
		eng, err := b.s.engine()
		if err != nil {
			return err
		}
		began := time.Now()
		b.work.Lock()
		more, err := b.index(eng)
		b.work.Unlock()
		if err != nil || !more {
			return err
		}
		b.pause(ctx, time.Since(began))
	}
	return nil
}

// keepLimits forgets what is beyond them.
func (b *book) keepLimits(ctx context.Context) error {
	eng, err := b.s.engine()
	if err != nil {
		return err
	}
	if err := b.indexAll(ctx); err != nil { // of another engine, perhaps
		return err
	}
	b.work.Lock()
	defer b.work.Unlock()
	return b.trim(ctx, eng, time.Now())
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

// CursorNames implements journal.CursorLister.
func (s *Store) CursorNames(ctx context.Context, prefix string) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return retried(ctx, s, func() ([]string, error) {
		eng, err := s.engine()
		if err != nil {
			return nil, err
		}
		var names []string
		err = eng.read(func(db *pebble.DB) error {
			it, err := db.NewIter(&pebble.IterOptions{LowerBound: bookKey(bookCursor, prefix), UpperBound: bookKey(bookCursor+1, "")})
			if err != nil {
				return err
			}
			for ok := it.First(); ok; ok = it.Next() {
				name := string(it.Key()[len(bookKey(bookCursor, "")):])
				if !strings.HasPrefix(name, prefix) {
					break
				}
				names = append(names, name)
			}
			return errors.Join(it.Error(), it.Close())
		})
		if err != nil {
			return nil, eng.met(err)
		}
		return names, nil
	})
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
var _ journal.Journal = (*Store)(nil)
