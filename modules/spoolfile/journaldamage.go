package spoolfile

import (
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"go.uber.org/zap"
)

// The journal in a store that is damaged: it is never a reason for a message to be lost or held, and what can be read of
// it is taken over.

// noteJournal tells whether a change is not to be remembered: records are too many, and are written once unless
// an address was taken out of them.
func (c *collection) noteJournal(kind byte, key, value []byte) bool {
	switch key[0] {
	case factPrefix:
		_, is := factAt(key)
		return !is || writtenOnce(kind, key, value)
	case bookPrefix:
		if key[1] == bookFloor && kind == kindSet {
			c.floor = decodeFloor(value)
		}
	}
	return false
}

// writtenOnce tells whether a change is a record of the journal that was not written again.
func writtenOnce(kind byte, key, value []byte) bool {
	_, is := factAt(key)
	return is && kind == kindSet && factsRevision(value) == 0
}

// putJournal takes over records that are whole and not forgotten, and the cursors. The index is made anew.
func (w *rewriter) putJournal(key, value []byte) error {
	if key[0] == bookPrefix {
		if key[1] == bookCursor || key[1] == bookFloor {
			return w.write(key, value)
		}
		return nil
	}
	if seq, is := factAt(key); !is || seq < w.c.floor.seq || !factsWhole(value) || !w.room() {
		return nil
	}
	return w.write(key, value)
}

// roomForFacts tells, record by record, whether the disk has room for the journal beside the store that is set aside.
func (s *Store) roomForFacts() func() bool {
	const step = 1000
	n, room := 0, true
	return func() bool {
		if n++; n%step == 1 && room {
			usage, err := s.fs.GetDiskUsage(s.dir)
			if room = err == nil && usage.AvailBytes > uint64(s.space.reserve.Load())+shortBy; !room {
				s.log.Error("the disk of the spool is nearly full: the rest of the journal is not taken over", zap.String("directory", s.dir))
			}
		}
		return room
	}
}

// checkJournal reads all records, and says how many are damaged.
func (s *Store) checkJournal(ctx context.Context, found func(id, problem string)) error {
	type page struct {
		next    uint64
		damaged int
		more    bool
	}
	all := page{more: true}
	for all.more {
		if err := ctx.Err(); err != nil {
			return err
		}
		p, err := retried(ctx, s, func() (page, error) {
			eng, err := s.engine()
			if err != nil {
				return page{}, err
			}
			read, p := 0, page{next: all.next, damaged: all.damaged}
			err = eng.read(func(db *pebble.DB) error {
				return forward(db, p.next, eng.seq.committed.Load(), func(seq uint64, value []byte) bool {
					if read++; read > recordPage {
						p.more = true
						return false
					}
					if _, err := decodeFacts(value); err != nil {
						p.damaged++
					}
					p.next = seq + 1
					return true
				})
			})
			if err != nil { // the reading may go on in p
				return page{}, eng.met(err)
			}
			return p, nil
		})
		if err != nil {
			return err
		}
		all = p
	}
	if all.damaged > 0 {
		found("journal", fmt.Sprintf("%d of its records are damaged; they are passed over", all.damaged))
	}
	return nil
}
