package spoolfile

import (
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// shelf is what is known of the journal in an engine. It is never changed, but replaced.
type shelf struct {
	eng    *engine
	floor  place     // the first fact that is kept
	blocks []summary // of those that have an index, in their order: all but the last ones
	tail   tally     // of what comes after them
}

// tally counts records.
type tally struct {
	upTo   uint64 // the last that was counted; 0: none
	facts  int64
	octets int64
}

// unindexed is the first place after the blocks that have an index.
func (sh *shelf) unindexed() uint64 {
	if n := len(sh.blocks); n > 0 {
		return max(sh.floor.seq, (sh.blocks[n-1].block+1)<<blockBits)
	}
	return sh.floor.seq
}

// size is how much there is, the tail as far as it was counted.
func (sh *shelf) size() (facts, octets int64) {
	facts, octets = sh.tail.facts, sh.tail.octets
	for i := range sh.blocks {
		facts, octets = facts+sh.blocks[i].facts, octets+sh.blocks[i].octets
	}
	return facts, octets
}

// shelfOf is what is known of an engine's journal.
func (b *book) shelfOf(eng *engine) (*shelf, error) {
	if sh := b.shelf.Load(); sh != nil && sh.eng == eng {
		return sh, nil
	}
	b.work.Lock()
	defer b.work.Unlock()
	return b.load(eng)
}

// load is shelfOf with the lock held.
func (b *book) load(eng *engine) (*shelf, error) {
	if sh := b.shelf.Load(); sh != nil && sh.eng == eng {
		return sh, nil
	}
	sh := &shelf{eng: eng}
	err := eng.read(func(db *pebble.DB) (err error) {
		if sh.floor, err = readFloor(db); err != nil {
			return err
		}
		it, err := db.NewIter(&pebble.IterOptions{LowerBound: summaryKey(sh.floor.seq >> blockBits), UpperBound: bookKey(bookSummary+1, "")})
		if err != nil {
			return err
		}
		for ok := it.First(); ok; ok = it.Next() {
			s, ok := decodeSummary(it.Key(), it.Value())
			if !ok {
				break // this one and all later ones are made again
			}
			sh.blocks = append(sh.blocks, s)
		}
		if err := it.Error(); err != nil {
			it.Close()
			return err
		}
		if err := it.Close(); err != nil {
			return err
		}
		return sh.recount(b, db)
	})
	if err != nil {
		return nil, eng.met(err)
	}
	b.shelf.Store(sh)
	return sh, nil
}

// recount counts what is left of the block that the floor is in.
func (sh *shelf) recount(b *book, db *pebble.DB) error {
	block := sh.floor.seq >> blockBits
	if len(sh.blocks) == 0 || sh.blocks[0].block != block || sh.floor == (place{seq: block << blockBits}) {
		return nil
	}
	var left tally
	if err := left.count(b, db, sh.floor, block<<blockBits|blockMask); err != nil {
		return err
	}
	sh.blocks = slices.Clone(sh.blocks)
	sh.blocks[0].facts, sh.blocks[0].octets = left.facts, left.octets
	return nil
}

// count counts the records from one place to another.
func (t *tally) count(b *book, db *pebble.DB, from place, to uint64) error {
	return forward(db, from.seq, to, func(seq uint64, value []byte) bool {
		facts, octets := int64(len(b.decode(seq, value))), int64(len(value))+recordCost
		if gone := int64(from.index); seq == from.seq && gone > 0 {
			gone = min(gone, facts)
			octets -= octets * gone / max(1, facts)
			facts -= gone
		}
		t.facts, t.octets, t.upTo = t.facts+facts, t.octets+octets, seq
		return true
	})
}

// counted has the tail counted. The lock is held.
func (b *book) counted(eng *engine) (*shelf, error) {
	sh, err := b.load(eng)
	if err != nil {
		return nil, err
	}
	last := eng.seq.committed.Load()
	if sh.tail.upTo >= last {
		return sh, nil
	}
	next := *sh
	from := place{seq: sh.tail.upTo + 1}
	if sh.tail.upTo == 0 {
		if from = (place{seq: sh.unindexed()}); from.seq == sh.floor.seq {
			from = sh.floor
		}
	}
	if err := eng.read(func(db *pebble.DB) error { return next.tail.count(b, db, from, last) }); err != nil {
		return nil, eng.met(err)
	}
	if next.tail.upTo = last; from.seq > last {
		next.tail.upTo = from.seq - 1
	}
	b.shelf.Store(&next)
	return &next, nil
}
