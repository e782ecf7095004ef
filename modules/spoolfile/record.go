package spoolfile

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
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
}

const (
	recordVersion = 1
	recordHeader  = 1 + 1 + 8 + 8 + 8
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
	return append(b, body...), nil
}

// decodeRecord reads what stands before the JSON.
func decodeRecord(b []byte) (record, error) {
	if len(b) < recordHeader {
		return record{}, errRecord
	}
	if b[0] != recordVersion {
		return record{}, fmt.Errorf("envelope record of version %d, which this program does not know", b[0])
	}
	return record{
		held: b[1]&flagHeld != 0,
		next: int64(binary.BigEndian.Uint64(b[2:])),
		file: binary.BigEndian.Uint64(b[10:]),
		size: int64(binary.BigEndian.Uint64(b[18:])),
	}, nil
}

func decodeEntry(b []byte) (*queue.Entry, error) {
	if len(b) < recordHeader {
		return nil, errRecord
	}
	e := new(queue.Entry)
	if err := json.Unmarshal(b[recordHeader:], e); err != nil {
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
