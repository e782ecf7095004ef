package spoolfile

import (
	"context"
	"errors"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
)

// Purge implements journal.Keeper. It goes from block to block, and rests for as long as each took; when it was broken
// off and is begun again it finds what is left. The tables that had the address are rewritten.
func (s *Store) Purge(ctx context.Context, address string) (facts int, err error) {
	b := &s.book
	if err := b.writeNotes(); err != nil {
		return 0, err
	}
	eng, err := s.engine()
	if err != nil {
		return 0, err
	}
	last := eng.seq.committed.Load()
	p := purge{b: b, address: address}
	for at := uint64(0); at <= last; {
		began := time.Now()
		if at, err = p.block(eng, at, last); err != nil {
			return p.facts, err
		}
		select {
		case <-ctx.Done():
			return p.facts, ctx.Err()
		case <-time.After(time.Since(began)):
		}
	}
	if p.facts == 0 {
		return 0, nil
	}
	// That has all be synced which was written, too.
	return p.facts, b.compact(ctx, eng, blockKey(p.first, blockIndex), blockKey(p.last+1, blockIndex))
}

// purge takes an address out of the journal.
type purge struct {
	b           *book
	address     string
	facts       int
	first, last uint64 // blocks that had it
}

// block does that with the first block that has records from a place on, and returns where the next begins.
func (p *purge) block(eng *engine, from, last uint64) (next uint64, err error) {
	p.b.work.Lock()
	defer p.b.work.Unlock()
	sh, err := p.b.load(eng)
	if err != nil {
		return 0, err
	}
	var x *indexer
	changed := 0
	err = eng.read(func(db *pebble.DB) error {
		if err := forward(db, from, last, func(seq uint64, _ []byte) bool { x = newIndexer(seq >> blockBits); return false }); err != nil || x == nil {
			return err
		}
		batch := db.NewBatch()
		defer batch.Close()
		n, err := p.records(db, batch, x, last)
		if changed = n; err != nil || n == 0 {
			return err
		}
		if (place{seq: x.summary.block << blockBits}).less(place{seq: sh.unindexed()}) {
			if err := x.write(batch); err != nil {
				return err
			}
		}
		return db.Apply(batch, pebble.NoSync)
	})
	if err != nil || x == nil {
		return last + 1, eng.met(err)
	}
	if changed > 0 {
		if p.facts == 0 {
			p.first = x.summary.block
		}
		p.facts, p.last = p.facts+changed, x.summary.block
	}
	return (x.summary.block + 1) << blockBits, nil
}

// records rewrites a block's records, as far as they had the address.
func (p *purge) records(db *pebble.DB, batch *pebble.Batch, x *indexer, last uint64) (changed int, err error) {
	first := x.summary.block << blockBits
	var failed error
	err = forward(db, first, min(last, first|blockMask), func(seq uint64, value []byte) bool {
		facts := p.b.decode(seq, value)
		if n := forget(facts, p.address); n > 0 {
			changed += n
			record := encodeFacts(facts, factsRevision(value)+1)
			failed = batch.Set(factKey(seq), record, nil)
			value = record
		}
		x.add(seq, len(value), facts)
		return failed == nil
	})
	return changed, errors.Join(err, failed)
}

// forget takes an address out of facts, and says of how many.
func forget(facts []journal.Fact, address string) (n int) {
	for i := range facts {
		if facts[i].Forget(address) {
			n++
		}
	}
	return n
}
