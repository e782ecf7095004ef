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

// nor is one of which a kill let a part be written, to the end of a page, over an earlier log. What that log had there may look like
// anything: its record may begin before the page and end behind what was to be written.
func TestTornOverEarlierLog(t *testing.T) {
	const page = 4 << 10
	old := bytes.Repeat([]byte("o"), 2*page)
	for shift := 1; shift < 3*page; shift += 61 {
		var earlier []byte
		earlier = append(earlier, logChunk(old[:shift%(2*page)], 7, 0)...)
		for len(earlier) < logBlock-3*page {
			earlier = append(earlier, logChunk(old[:len(old)-len(earlier)%page/3], 7, 0)...)
		}
		first := logChunk(old[:3000], 8, 0)
		second := logChunk(bytes.Repeat([]byte("n"), page+shift%page), 8, uint64(len(first)))
		b := append(bytes.Clone(first), second...)
		for at := page; at < len(b); at += page {
			torn := bytes.Clone(earlier)
			copy(torn, b[:at])
			records, gaps := scanLog(torn, 8, false)
			if len(records) != 1 || len(gaps) != 0 {
				t.Fatalf("shift %d, cut at %d of %d: %d records, %+v", shift, at, len(b), len(records), gaps)
			}
		}
		// One octet that is not right is damage.
		spoilt := bytes.Clone(earlier)
		copy(spoilt, b)
		spoilt[len(b)-page/2] = 'd'
		if _, gaps := scanLog(spoilt, 8, false); (len(b)-1)%sector > 0 && (len(gaps) != 1 || !gaps[0].damage) {
			t.Fatalf("shift %d, an octet of %d: %+v", shift, len(b), gaps)
		}
	}
}
