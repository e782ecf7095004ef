package spoolfile

import (
	"encoding/binary"
	"regexp"

	"github.com/cockroachdb/pebble/v2/batchrepr"
)

// Kinds of changes, as pebble writes them.
const (
	kindDelete = 0
	kindSet    = 1
)

// readBatch calls f for what a record of the log changes, and returns the numbers of the changes.
func readBatch(b []byte, f func(seq uint64, kind byte, key, value []byte)) (first, next uint64, ok bool) {
	if len(b) < batchHeader {
		return 0, 0, false
	}
	first = binary.LittleEndian.Uint64(b)
	seq := first
	for r := batchrepr.Read(b); ; seq++ {
		kind, key, value, ok, err := r.Next()
		if err != nil {
			return first, seq, false
		}
		if !ok {
			return first, first + uint64(le32(b[8:])), seq-first == uint64(le32(b[8:]))
		}
		f(seq, byte(kind), key, value)
	}
}

const batchHeader = 12 // number of the first change, and how many there are

// trusted tells whether a record of which a bit was put right is what it was: its messages have checksums of their own.
func (r *logRecord) trusted() bool {
	if !r.mended {
		return true
	}
	envelopes := make(map[string]*envelope)
	proven := true
	_, _, whole := readBatch(r.octets, func(_ uint64, kind byte, key, value []byte) {
		if kind != kindSet || len(key) == 0 {
			return
		}
		switch key[0] {
		case envelopePrefix:
			v, err := decodeEnvelope(value)
			proven = proven && err == nil
			envelopes[string(key[1:])] = v
		case bodyPrefix:
			v := envelopes[string(key[1:])] // the envelope comes first
			proven = proven && v != nil && v.proves(value) && (v.independent || !r.changed)
		}
	})
	return whole && proven
}

// namedChange is a change as a batch has it: kind, length of the key, key.
var namedChange = regexp.MustCompile(`(?s)[\x00\x01]([\x02-\x7f])([ebjs])([0-9A-Za-z_.-]+)`)

// mention is a change that octets name that cannot be trusted.
type mention struct {
	kind, prefix byte
	id           string
}

// mentioned finds the changes that are named in damaged octets of a log.
func mentioned(b []byte) (found []mention) {
	for at := 0; ; {
		m := namedChange.FindSubmatchIndex(b[at:])
		if m == nil {
			return found
		}
		n := int(b[at+m[2]]) - 1
		prefix, text := b[at+m[4]], b[at+m[6]:at+m[7]]
		if prefix == jobPrefix {
			n -= 5
		}
		if n > 0 && len(text) >= n && (prefix != jobPrefix || len(text) == n) {
			found = append(found, mention{b[at+m[0]], prefix, string(text[:n])})
			at += m[6] + n
			continue
		}
		at += m[0] + 1
	}
}
