package spoolfile

import (
	"context"
	"errors"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
)

const (
	// keepPause is how often the limits are looked at.
	keepPause = 10 * time.Second
	// coarse is the size from which on whole blocks are forgotten because of it.
	coarse = 32 * blockOctets
	// reclaim is how much was forgotten before its room on the disk is asked back.
	reclaim = 8 << 20
	// shortBy is how much more than the reserve is free when the journal begins to give way.
	shortBy = 32 << 20
)

// SetLimits implements journal.Keeper.
func (s *Store) SetLimits(l journal.Limits) {
	s.book.limits.Store(&l)
	s.book.notes.SetLimits(l)
	poke(s.book.due)
}

// Stat implements journal.Keeper.
func (s *Store) Stat(ctx context.Context) (stat journal.Stat, err error) {
	if err := ctx.Err(); err != nil {
		return stat, err
	}
	return retried(ctx, s, func() (journal.Stat, error) {
		eng, err := s.engine()
		if err != nil {
			return stat, err
		}
		s.book.work.Lock()
		sh, err := s.book.counted(eng)
		s.book.work.Unlock()
		if err != nil {
			return stat, err
		}
		stat := s.book.notes.Stat()
		stat.Facts, stat.Octets = sh.size()
		last := eng.seq.committed.Load()
		end := place{seq: last, index: maxIndex}
		err = eng.read(func(db *pebble.DB) error {
			if err := forward(db, sh.floor.seq, last, func(seq uint64, value []byte) bool {
				facts := s.book.decode(seq, value)
				if seq == sh.floor.seq {
					facts = facts[min(sh.floor.index, len(facts)):]
				}
				if len(facts) > 0 {
					stat.Oldest = facts[0].Time
				}
				return len(facts) == 0
			}); err != nil {
				return err
			}
			return forward(db, last, last, func(seq uint64, value []byte) bool {
				if n := len(s.book.decode(seq, value)); n > 0 {
					end.index = n - 1
				}
				return true
			})
		})
		if err != nil {
			return journal.Stat{}, eng.met(err)
		}
		stat.End = end.position()
		return stat, nil
	})
}

// rule says what is forgotten.
type rule struct {
	before int64 // facts of before then
	most   int64 // octets; 0: any
	held   place // the first fact that a follower waits for: from there on only twice as much counts
}

// forgets tells whether a fact goes, with so many octets from it on.
func (r *rule) forgets(at place, t, left int64) bool {
	most, old := r.most, t < r.before
	if !at.less(r.held) {
		most, old = 2*most, false
	}
	return old || most > 0 && left > most
}

// forgetsAll tells whether a whole block goes.
func (r *rule) forgetsAll(s *summary, left int64) bool {
	most, old := r.most, s.last < r.before
	switch {
	case !r.held.less(place{seq: (s.block + 1) << blockBits}):
	case r.held.less(place{seq: s.block<<blockBits + 1}):
		most, old = 2*most, false
	default:
		return false // a part of it is held
	}
	return old || most > 0 && (left-s.octets >= most || left > most && most >= coarse)
}

// rule is what the limits and the cursors come to.
func (b *book) rule(eng *engine, now time.Time) (*rule, error) {
	l := b.limits.Load()
	r := &rule{before: -1 << 63, most: l.MaxSize, held: endless}
	if l.Keep > 0 {
		r.before = nanos(now.Add(-l.Keep))
	}
	err := eng.read(func(db *pebble.DB) error {
		it, err := db.NewIter(&pebble.IterOptions{LowerBound: bookKey(bookCursor, ""), UpperBound: bookKey(bookCursor+1, "")})
		if err != nil {
			return err
		}
		for ok := it.First(); ok; ok = it.Next() {
			p := journal.Position(it.Value())
			if at, ok := readPosition(p); ok {
				if p != "" {
					at.index++
				}
				if at.less(r.held) {
					r.held = at
				}
			}
		}
		return errors.Join(it.Error(), it.Close())
	})
	return r, eng.met(err)
}

// trim forgets what is beyond the limits. The lock is held.
func (b *book) trim(ctx context.Context, eng *engine, now time.Time) error {
	sh, err := b.counted(eng)
	if err != nil {
		return err
	}
	r, err := b.rule(eng, now)
	if err != nil || r.most == 0 && r.before == -1<<63 {
		return err
	}
	_, left := sh.size()
	floor := sh.floor
	n := 0
	for ; n < len(sh.blocks) && r.forgetsAll(&sh.blocks[n], left); n++ {
		left -= sh.blocks[n].octets
		floor = place{seq: (sh.blocks[n].block + 1) << blockBits}
	}
	last := eng.seq.committed.Load()
	if n < len(sh.blocks) {
		last = min(last, sh.blocks[n].block<<blockBits|blockMask)
	}
	if err := eng.read(func(db *pebble.DB) error {
		return forward(db, floor.seq, last, func(seq uint64, value []byte) bool {
			facts := b.decode(seq, value)
			each := (int64(len(value)) + recordCost) / int64(max(1, len(facts)))
			for i := range facts {
				at := place{seq, i}
				if at.less(floor) {
					continue
				}
				if !r.forgets(at, nanos(facts[i].Time), left) {
					return false
				}
				floor, left = place{seq, i + 1}, left-each
			}
			floor = place{seq: seq + 1}
			return true
		})
	}); err != nil {
		return eng.met(err)
	}
	return b.raise(ctx, eng, sh, floor)
}

// raise forgets what is before a place. The lock is held.
func (b *book) raise(ctx context.Context, eng *engine, sh *shelf, floor place) error {
	if !sh.floor.less(floor) {
		return nil
	}
	next := &shelf{eng: eng, floor: floor, tail: sh.tail, blocks: sh.blocks}
	was, block := sh.floor.seq>>blockBits, floor.seq>>blockBits
	for len(next.blocks) > 0 && next.blocks[0].block < block {
		b.freed += next.blocks[0].octets
		next.blocks = next.blocks[1:]
	}
	if !floor.less(place{seq: sh.unindexed()}) {
		next.tail = tally{} // it is counted again
	}
	if err := eng.read(func(db *pebble.DB) error {
		batch := db.NewBatch()
		defer batch.Close()
		if block > was {
			if err := errors.Join(
				batch.DeleteRange([]byte{factPrefix}, blockKey(block, blockIndex), nil),
				batch.DeleteRange(bookKey(bookSummary, ""), summaryKey(block), nil)); err != nil {
				return err
			}
		}
		if first := block << blockBits; floor.seq > first {
			if err := batch.DeleteRange(factKey(first), factKey(floor.seq), nil); err != nil {
				return err
			}
		}
		if err := errors.Join(batch.Set(bookKey(bookFloor, ""), encodeFloor(floor), nil), db.Apply(batch, pebble.NoSync)); err != nil {
			return err
		}
		return next.recount(b, db)
	}); err != nil {
		return eng.met(err)
	}
	b.shelf.Store(next)
	if b.freed < reclaim {
		return nil
	}
	b.freed = 0
	return b.compact(ctx, eng, []byte{factPrefix}, blockKey(block, blockIndex))
}

// compact has what was forgotten leave the tables.
func (b *book) compact(ctx context.Context, eng *engine, from, to []byte) error {
	return eng.read(func(db *pebble.DB) error { return eng.met(db.Compact(ctx, from, to, false)) })
}

// giveWay forgets the oldest blocks, whoever waits for them, until the disk has room or none is left.
func (b *book) giveWay(ctx context.Context) error {
	for ctx.Err() == nil {
		usage, err := b.s.fs.GetDiskUsage(b.s.dir)
		if err != nil {
			return err
		}
		missing := b.s.space.reserve.Load() + shortBy - int64(usage.AvailBytes)
		eng, err := b.s.engine()
		if err != nil || missing <= 0 {
			return err
		}
		b.work.Lock()
		gone, err := b.yield(ctx, eng, missing)
		b.work.Unlock()
		if err != nil || gone == 0 {
			return err
		}
		b.pause(ctx, time.Second) // files are removed in the background
		b.s.log.Warn("the disk of the spool is nearly full: the journal's oldest facts were given up", zap.String("directory", b.s.dir), zap.Int64("octets", gone))
	}
	return nil
}

// yield gives up so many octets, or some more. The lock is held.
func (b *book) yield(ctx context.Context, eng *engine, octets int64) (gone int64, err error) {
	sh, err := b.load(eng)
	if err != nil {
		return 0, err
	}
	floor := sh.floor
	for i := range sh.blocks {
		if gone >= octets {
			break
		}
		gone += sh.blocks[i].octets
		floor = place{seq: (sh.blocks[i].block + 1) << blockBits}
	}
	if gone == 0 {
		return 0, nil
	}
	b.freed = reclaim // at once
	return gone, b.raise(ctx, eng, sh, floor)
}
