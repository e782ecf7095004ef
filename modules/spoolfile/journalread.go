package spoolfile

import (
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
)

// Follow implements journal.Reader. What is not durable yet is not shown.
func (s *Store) Follow(ctx context.Context, after journal.Position, limit int) ([]journal.Fact, error) {
	from, ok := readPosition(after)
	if !ok {
		return nil, fmt.Errorf("journal: %q is not a position", after)
	}
	if after != "" {
		from.index++
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return retried(ctx, s, func() ([]journal.Fact, error) {
		eng, err := s.engine()
		if err != nil {
			return nil, err
		}
		last := eng.seq.committed.Load()
		if from.seq > last {
			return nil, nil
		}
		sh, err := s.book.shelfOf(eng)
		if err != nil {
			return nil, err
		}
		from := from
		if from.less(sh.floor) {
			from = sh.floor
		}
		var facts []journal.Fact
		octets := 0
		err = eng.read(func(db *pebble.DB) error {
			return forward(db, from.seq, last, func(seq uint64, value []byte) bool {
				octets += len(value)
				for i, f := range s.book.decode(seq, value) {
					if (place{seq, i}).less(from) {
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
		if err != nil {
			return nil, eng.met(err)
		}
		return facts, nil
	})
}

// decode reads a record. One that is damaged is passed over.
func (b *book) decode(seq uint64, value []byte) []journal.Fact {
	return b.decodeInto(make([]journal.Fact, 0, 1), seq, value)
}

// decodeInto is decode in room that there is already.
func (b *book) decodeInto(room []journal.Fact, seq uint64, value []byte) []journal.Fact {
	facts, err := appendFacts(room, value)
	if err != nil && b.damaged.Add(1) == 1 {
		b.s.log.Error("a record of the spool's journal is damaged; it is passed over, as all further ones", zap.Uint64("record", seq), zap.Error(err), b.s.remedy())
	}
	return facts
}

// forward calls f for the records from one place to another, until it returns false.
func forward(db *pebble.DB, from, to uint64, f func(seq uint64, value []byte) bool) error {
	if from > to {
		return nil
	}
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
