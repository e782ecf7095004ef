package spoolfile

import (
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
)

// What is read at once: the store must be free to tidy up, and to be closed, in between.
const (
	factPage   = 128
	recordPage = 2048
)

// Follow implements journal.Reader. What is not durable yet is not shown.
func (s *Store) Follow(ctx context.Context, after journal.Position, limit int) ([]journal.Fact, error) {
	at, ok := readPosition(after)
	if !ok {
		return nil, fmt.Errorf("journal: %q is not a position", after)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return retried(ctx, s, func() (facts []journal.Fact, err error) {
		eng, err := s.engine()
		if err != nil {
			return nil, err
		}
		last := eng.seq.committed.Load()
		if at.seq > last {
			return nil, nil
		}
		octets := 0
		err = eng.read(func(db *pebble.DB) error {
			return forward(db, at.seq, last, func(seq uint64, value []byte) bool {
				octets += len(value)
				for i, f := range s.book.decode(seq, value) {
					if seq == at.seq && after != "" && i <= at.index {
						continue
					}
					if len(facts) == limit {
						return false
					}
					f.Position = place{seq, i}.position()
					facts = append(facts, f)
				}
				return len(facts) < limit && octets < maxBatch
			})
		})
		return facts, eng.met(err)
	})
}

// decode reads a record. One that is damaged is passed over.
func (b *book) decode(seq uint64, value []byte) []journal.Fact {
	facts, err := decodeFacts(value)
	if err != nil && b.damaged.Add(1) == 1 {
		b.s.log.Error("a record of the spool's journal is damaged; it is passed over, as all further ones", zap.Uint64("record", seq), zap.Error(err), b.s.remedy())
	}
	return facts
}

// forward calls f for the records from one place to another, until it returns false.
func forward(db *pebble.DB, from, to uint64, f func(seq uint64, value []byte) bool) error {
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: factKey(from), UpperBound: factKey(to + 1)})
	if err != nil {
		return err
	}
	for ok := it.First(); ok; {
		seq, is := factAt(it.Key())
		if !is { // a block's index
			block, _, _, known := splitBlockKey(it.Key())
			if !known {
				break
			}
			ok = it.SeekGE(blockKey(block, blockRecord))
			continue
		}
		if !f(seq, it.Value()) {
			break
		}
		ok = it.Next()
	}
	if err := it.Error(); err != nil {
		it.Close()
		return err
	}
	return it.Close()
}

// Facts implements journal.Reader.
func (s *Store) Facts(ctx context.Context, q *journal.Query, yield func(*journal.Fact) bool) error {
	search := &search{b: &s.book, q: q, before: place{seq: 1<<60 - 1}}
	if q.Before != "" {
		var ok bool
		if search.before, ok = readPosition(q.Before); !ok {
			return fmt.Errorf("journal: %q is not a position", q.Before)
		}
	}
	for !search.ended {
		if err := ctx.Err(); err != nil {
			return err
		}
		page, err := retried(ctx, s, search.page)
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
	before place // where the next page begins: facts before it
	ended  bool
	looked int
	found  []journal.Fact
}

// page finds the next facts, perhaps none.
func (x *search) page() ([]journal.Fact, error) {
	eng, err := x.b.s.engine()
	if err != nil {
		return nil, err
	}
	was := x.before
	x.looked, x.found = 0, nil
	if last := eng.seq.committed.Load(); x.before.seq > last {
		x.before = place{seq: last + 1}
	}
	err = eng.read(x.pass)
	if err != nil { // it may be asked again
		x.before, x.ended = was, false
		return nil, eng.met(err)
	}
	return x.found, nil
}

// more tells whether the page is not full yet.
func (x *search) more() bool { return len(x.found) < factPage && x.looked < recordPage }

// pass looks at records from the latest on, until the page is full.
func (x *search) pass(db *pebble.DB) error {
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: []byte{factPrefix}, UpperBound: []byte{factPrefix + 1}})
	if err != nil {
		return err
	}
	seq, ok := x.begin(it)
	for ok && x.more() {
		x.look(seq, it.Value())
		seq, ok = older(it, it.Prev())
	}
	x.ended = !ok
	if err := it.Error(); err != nil {
		it.Close()
		return err
	}
	return it.Close()
}

// begin goes to the latest record that may have facts before the place.
func (x *search) begin(it *pebble.Iterator) (seq uint64, ok bool) {
	upper := x.before.seq
	if x.before.index > 0 {
		upper++
	}
	return older(it, it.SeekLT(factKey(upper)))
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
		if seq == x.before.seq && i >= x.before.index || !x.q.Match(&facts[i]) {
			continue
		}
		facts[i].Position = place{seq, i}.position()
		x.found = append(x.found, facts[i])
	}
	x.before = place{seq: seq}
}
