package spoolfile

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// Keys of the store. Envelopes and bodies lie apart, so that the scan at start
// reads no bodies.
const (
	envelopePrefix = 'e' // e<id>: an envelope record
	bodyPrefix     = 'b' // b<id>: the prepended header, and the body if it is small
)

func envelopeKey(id string) []byte { return append([]byte{envelopePrefix}, id...) }
func bodyKey(id string) []byte     { return append([]byte{bodyPrefix}, id...) }

// record is an envelope as it is stored: what the schedule needs, in fixed
// places before the entry's JSON, so that a scan parses none.
type record struct {
	held bool
	next int64  // Entry.Next in nanoseconds since 1970; 0 for the zero time
	file uint64 // number of the file that holds the body; 0: it is in the store
	size int64  // octets in that file, or of header and body in the store

	priority int8
	user     uint64 // who takes turns with others: a hash of the user's name
}

// Versions of a record. The first, which had neither priority nor user, is still read.
const (
	recordFirst   = 1
	recordVersion = 2
	firstHeader   = 1 + 1 + 8 + 8 + 8
	recordHeader  = firstHeader + 1 + 8
	flagHeld      = 1
)

var errRecord = errors.New("damaged envelope record")

// encode puts the record before the entry's JSON.
func (r record) encode(e *queue.Entry) ([]byte, error) {
	body, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("entry %s: %w", e.ID, err)
	}
	b := make([]byte, 0, recordHeader+len(body))
	b = append(b, recordVersion, 0)
	if r.held {
		b[1] |= flagHeld
	}
	b = binary.BigEndian.AppendUint64(b, uint64(r.next))
	b = binary.BigEndian.AppendUint64(b, r.file)
	b = binary.BigEndian.AppendUint64(b, uint64(r.size))
	b = append(b, byte(r.priority))
	b = binary.BigEndian.AppendUint64(b, r.user)
	return append(b, body...), nil
}

// describe takes from the entry what the schedule goes by.
func (r *record) describe(e *queue.Entry) {
	r.held, r.next = e.Held != "", nanos(e.Next)
	r.priority = int8(min(max(e.Priority, lowestPriority), highestPriority))
	h := fnv.New64a()
	_, _ = io.WriteString(h, e.User)
	r.user = h.Sum64()
}

// decodeRecord reads what stands before the JSON.
func decodeRecord(b []byte) (record, error) {
	n, err := headerLen(b)
	if err != nil {
		return record{}, err
	}
	r := record{
		held: b[1]&flagHeld != 0,
		next: int64(binary.BigEndian.Uint64(b[2:])),
		file: binary.BigEndian.Uint64(b[10:]),
		size: int64(binary.BigEndian.Uint64(b[18:])),
	}
	if n > firstHeader {
		r.priority, r.user = int8(b[firstHeader]), binary.BigEndian.Uint64(b[firstHeader+1:])
	}
	return r, nil
}

// headerLen is where the JSON begins.
func headerLen(b []byte) (n int, err error) {
	if len(b) == 0 {
		return 0, errRecord
	}
	switch b[0] {
	case recordFirst:
		n = firstHeader
	case recordVersion:
		n = recordHeader
	default:
		return 0, fmt.Errorf("envelope record of version %d, which this program does not know", b[0])
	}
	if len(b) < n {
		return 0, errRecord
	}
	return n, nil
}

func decodeEntry(b []byte) (*queue.Entry, error) {
	n, err := headerLen(b)
	if err != nil {
		return nil, err
	}
	e := new(queue.Entry)
	if err := json.Unmarshal(b[n:], e); err != nil {
		return nil, fmt.Errorf("%w: %w", errRecord, err)
	}
	return e, nil
}

// nanos turns a time into the schedule's order. Times that an int64 cannot hold
// become the nearest that it can; the zero time is 0.
func nanos(t time.Time) int64 {
	switch {
	case t.IsZero():
		return 0
	case t.Year() < 1700:
		return -1 << 62
	case t.Year() > 2200:
		return 1<<63 - 1
	}
	return t.UnixNano()
}
