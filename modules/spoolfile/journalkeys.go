package spoolfile

import (
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
)

// Keys of the journal. They come before those of messages, and what is written last comes last of each
// kind, so that neither the tables of old facts nor those of messages are rewritten because of what is new.
//
//	J<block>0<posting>  index of the block, see journalindex.go
//	J<block>1<place>    a record of the block, see journalrecord.go
//	Kc<name>            a cursor
//	Kf                  the floor: facts before it are forgotten
//	Ks<block>           summary of a block that has an index
const (
	factPrefix = 'J' // blocks of records
	bookPrefix = 'K' // what is known of them

	blockIndex  = 0
	blockRecord = 1

	bookCursor  = 'c'
	bookFloor   = 'f'
	bookSummary = 's'
)

// A block is 4,096 records, or fewer that are large. It has one index and is forgotten as a whole.
const (
	blockBits   = 12
	blockMask   = 1<<blockBits - 1
	blockOctets = 2 << 20
)

func ofJournal(key []byte) bool {
	return len(key) > 0 && (key[0] == factPrefix || key[0] == bookPrefix)
}

// blockKey is where a kind of a block's keys begins.
func blockKey(block uint64, kind byte) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 20), block)
	b[0], b[1] = 0, factPrefix // 48 bits are enough
	return append(b[1:], kind)
}

func factKey(seq uint64) []byte {
	return binary.BigEndian.AppendUint16(blockKey(seq>>blockBits, blockRecord), uint16(seq&blockMask))
}

// splitBlockKey reads what blockKey wrote.
func splitBlockKey(key []byte) (block uint64, kind byte, rest []byte, ok bool) {
	if len(key) < 8 || key[0] != factPrefix {
		return 0, 0, nil, false
	}
	return binary.BigEndian.Uint64(key[:8]) >> 8 & (1<<48 - 1), key[7], key[8:], true
}

// factAt is the place of a record by its key.
func factAt(key []byte) (seq uint64, ok bool) {
	block, kind, rest, ok := splitBlockKey(key)
	if !ok || kind != blockRecord || len(rest) != 2 {
		return 0, false
	}
	return block<<blockBits | uint64(binary.BigEndian.Uint16(rest)), true
}

func bookKey(kind byte, name string) []byte { return append([]byte{bookPrefix, kind}, name...) }

func summaryKey(block uint64) []byte {
	return append(bookKey(bookSummary, ""), blockKey(block, 0)[1:7]...)
}

// place is where a fact is: its record, and which of the record's facts it is.
type place struct {
	seq   uint64
	index int
}

func (p place) position() journal.Position {
	return journal.Position(strconv.FormatUint(p.seq, 10) + "." + strconv.Itoa(p.index))
}

func (p place) less(q place) bool { return p.seq < q.seq || p.seq == q.seq && p.index < q.index }

const maxIndex = 1 << 30

// endless is after all places.
var endless = place{seq: 1<<60 - 1}

// readPosition reads a position; "" is before all.
func readPosition(p journal.Position) (at place, ok bool) {
	if p == "" {
		return place{}, true
	}
	seq, index, _ := strings.Cut(string(p), ".")
	var err, other error
	at.seq, err = strconv.ParseUint(seq, 10, 60)
	at.index, other = strconv.Atoi(index)
	return at, err == nil && other == nil && at.index >= 0
}

// sequence gives an engine's records their places. Only the committer moves it.
type sequence struct {
	octets    int           // of the block so far
	placed    atomic.Uint64 // the last place that was given
	committed atomic.Uint64 // what is up to here is durable
	filled    func()        // a block is; nil: nobody is told
}

// place is that of a record of so many octets.
func (q *sequence) place(octets int) uint64 {
	last := q.placed.Load()
	next := last + 1
	if q.octets += octets; q.octets > blockOctets {
		next = last | blockMask + 1
	}
	if next&blockMask == 0 {
		q.octets = octets
	}
	q.placed.Store(next)
	return next
}

// durable says that all that was placed is.
func (q *sequence) durable() {
	last, before := q.placed.Load(), q.committed.Load()
	if last == before {
		return
	}
	q.committed.Store(last)
	if last>>blockBits != before>>blockBits && q.filled != nil {
		q.filled()
	}
}

// atLeast has no place be given that an engine before gave.
func (q *sequence) atLeast(last uint64) {
	if last > q.placed.Load() {
		q.placed.Store(last)
		q.committed.Store(last)
	}
}

// open finds the last place in the store.
func (q *sequence) open(db *pebble.DB) error {
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: []byte{factPrefix}, UpperBound: []byte{factPrefix + 1}})
	if err != nil {
		return err
	}
	if it.Last() {
		if seq, ok := factAt(it.Key()); ok {
			q.atLeast(seq)
		} else if block, _, _, ok := splitBlockKey(it.Key()); ok {
			q.atLeast(block<<blockBits | blockMask) // its records were forgotten
		}
	}
	if err := it.Error(); err != nil {
		it.Close()
		return err
	}
	if err := it.Close(); err != nil {
		return err
	}
	floor, err := readFloor(db)
	if floor.seq > 0 {
		q.atLeast(floor.seq - 1)
	}
	return err
}

// readFloor is the first fact that is not forgotten.
func readFloor(db *pebble.DB) (place, error) {
	v, closer, err := db.Get(bookKey(bookFloor, ""))
	if errors.Is(err, pebble.ErrNotFound) {
		return place{}, nil
	}
	if err != nil {
		return place{}, err
	}
	defer closer.Close()
	return decodeFloor(v), nil
}

func encodeFloor(p place) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(nil, p.seq), uint32(p.index))
}

// decodeFloor is the beginning for what it does not know: then facts are read that were to be forgotten, and forgotten again.
func decodeFloor(b []byte) place {
	if len(b) != 12 {
		return place{}
	}
	return place{binary.BigEndian.Uint64(b), int(binary.BigEndian.Uint32(b[8:]))}
}
