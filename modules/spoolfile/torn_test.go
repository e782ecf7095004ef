package spoolfile

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"
)

// logChunk is a whole record of a log, as pebble writes it.
func logChunk(payload []byte, log uint32, synced uint64) []byte {
	b := make([]byte, logHeader, logHeader+len(payload))
	binary.LittleEndian.PutUint16(b[4:], uint16(len(payload)))
	b[6] = 9
	binary.LittleEndian.PutUint32(b[7:], log)
	binary.LittleEndian.PutUint64(b[11:], synced)
	b = append(b, payload...)
	putMasked(b, crc32.Checksum(b[6:], castagnoli))
	return b
}

// a record of which one sector was not written when the power failed is no damage, wherever in the sector it begins.
func TestTornSector(t *testing.T) {
	const sector = 512
	text := bytes.Repeat([]byte("x"), 3*sector)
	for head := 1; head < sector; head++ { // octets of the record in its first sector
		first := logChunk(text[:2*sector-head-logHeader], 8, 0)
		second := logChunk(text[:2*sector], 8, uint64(len(first)))
		for at := len(first); at < len(first)+len(second); at = at/sector*sector + sector {
			b := append(bytes.Clone(first), second...)
			clear(b[at:min(len(b), at/sector*sector+sector)])
			records, gaps := scanLog(b, 8, false)
			if len(records) < 1 || len(gaps) != 0 { // one octet is mended
				t.Fatalf("record at %d, sector at %d: %d records, %+v", len(first), at, len(records), gaps)
			}
		}
	}
}
