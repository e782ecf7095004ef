package spoolfile

import (
	"context"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
)

// What is read at once: the store must be free to tidy up, and to be closed, in between.
const (
	factPage   = 128
	recordPage = 2048 // a block's index counts as lookupCost of them
	lookupCost = 8
)

// Facts implements journal.Reader.
func (s *Store) Facts(ctx context.Context, q *journal.Query, yield func(*journal.Fact) bool) error {
	x := &search{b: &s.book, q: q, terms: queryTerms(q), before: endless}
	if q.Before != "" {
		var ok bool
		if x.before, ok = readPosition(q.Before); !ok {
			return fmt.Errorf("journal: %q is not a position", q.Before)
		}
	}
	for !x.ended {
		if err := ctx.Err(); err != nil {
			return err
		}
		page, err := retried(ctx, s, x.page)
		if err != nil {
			return err
		}
		for i := range page {
			if !yield(&page[i]) {
				return nil
			}
		}
	}
	return nil
}

// search is a query that is answered page by page.
type search struct {
	b      *book
	q      *journal.Query
	terms  []posting // none: all records are looked at
	before place     // where the next page begins: facts before it
	ended  bool

	// Of one page:
	sh     *shelf
	looked int
	found  []journal.Fact
}

// page finds the next facts, perhaps none.
func (x *search) page() ([]journal.Fact, error) {
	eng, err := x.b.s.engine()
	if err != nil {
		return nil, err
	}
	p := *x // of an engine that fails nobody waits for the reading, which goes on in this copy
	if p.sh, err = p.b.shelfOf(eng); err != nil {
		return nil, err
	}
	p.looked, p.found = 0, nil
	if after := (place{seq: eng.seq.committed.Load() + 1}); after.less(p.before) {
		p.before = after
	}
	if err := eng.read(p.pass); err != nil { // it may be asked again
		return nil, eng.met(err)
	}
	*x = p
	return p.found, nil
}

// more tells whether the page is not full yet.
func (x *search) more() bool {
	return len(x.found) < factPage && x.looked < recordPage && !x.ended
}

// pass looks at records from the latest on, until the page is full.
func (x *search) pass(db *pebble.DB) error {
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: []byte{factPrefix}, UpperBound: []byte{factPrefix + 1}})
	if err != nil {
		return err
	}
	for x.more() && it.Error() == nil { // to go somewhere else with an iterator forgets its error
		blocks := x.sh.blocks
		// The block that the next older record is in has an index, unless it is after all that have one.
		n, _ := slices.BinarySearchFunc(blocks, x.before, func(s summary, p place) int {
			if (place{seq: s.block << blockBits}).less(p) {
				return -1
			}
			return 1
		})
		end := place{seq: x.sh.unindexed()}
		switch {
		case end.less(x.before):
			x.scan(it, end)
		case n == 0:
			x.ended = true
		default:
			x.block(it, &blocks[n-1])
		}
		x.ended = x.ended || !x.sh.floor.less(x.before)
	}
	if err := it.Error(); err != nil {
		it.Close()
		return err
	}
	return it.Close()
}

// block looks at what may be meant of a block with an index.
func (x *search) block(it *pebble.Iterator, s *summary) {
	begin := place{seq: s.block << blockBits}
	switch {
	case !x.q.Since.IsZero() && s.last < nanos(x.q.Since), !x.q.Until.IsZero() && s.first >= nanos(x.q.Until):
		x.looked++
		x.before = begin
	case len(x.terms) == 0:
		x.scan(it, begin)
	default:
		x.looked += lookupCost
		for _, low := range slices.Backward(lookup(it, s.block, x.terms)) {
			seq := begin.seq | uint64(low)
			if !x.more() || it.Error() != nil {
				return
			}
			if !(place{seq: seq}).less(x.before) {
				continue
			}
			if key := factKey(seq); it.SeekGE(key) && string(it.Key()) == string(key) { // else it was forgotten
				x.look(seq, it.Value())
			}
		}
		x.before = begin
	}
}

// scan looks at all records from a place on.
func (x *search) scan(it *pebble.Iterator, from place) {
	upper := x.before.seq
	if x.before.index > 0 { // it has older facts
		upper++
	}
	for seq, ok := older(it, it.SeekLT(factKey(upper))); ok && seq >= from.seq; seq, ok = older(it, it.Prev()) {
		if !x.more() {
			return
		}
		x.look(seq, it.Value())
	}
	x.before = from
}

// older passes over what is not a record.
func older(it *pebble.Iterator, ok bool) (seq uint64, found bool) {
	for ok {
		if seq, is := factAt(it.Key()); is {
			return seq, true
		}
		block, _, _, known := splitBlockKey(it.Key())
		if !known {
			break
		}
		ok = it.SeekLT(blockKey(block, blockIndex))
	}
	return 0, false
}

// look takes from a record the facts that are asked for, the latest first.
func (x *search) look(seq uint64, value []byte) {
	x.looked++
	facts := x.b.decode(seq, value)
	for i := len(facts) - 1; i >= 0; i-- {
		at := place{seq, i}
		if at.less(x.before) && !at.less(x.sh.floor) && x.q.Match(&facts[i]) {
			facts[i].Position = at.position()
			x.found = append(x.found, facts[i])
		}
	}
	x.before = place{seq: seq}
}
