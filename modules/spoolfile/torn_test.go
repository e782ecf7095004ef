package spoolfile

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
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

// logOf is a log of records, which are in parts where a block ends, each synced before the next.
func logOf(records [][]byte, log uint32) (b []byte, ends []int) {
	for _, r := range records {
		synced := uint64(len(b))
		for part := 0; ; part++ {
			left := logBlock - len(b)%logBlock
			if left < logHeader {
				b = append(b, make([]byte, left)...)
				left = logBlock
			}
			n := min(len(r), left-logHeader)
			chunk := logChunk(r[:n], log, synced)
			r = r[n:]
			switch { // 9 is a whole record, 10 its first part, 11 a middle one, 12 the last
			case part == 0 && len(r) > 0:
				chunk[6] = 10
			case part > 0 && len(r) > 0:
				chunk[6] = 11
			case part > 0:
				chunk[6] = 12
			}
			putMasked(chunk, crc32.Checksum(chunk[6:], castagnoli))
			b = append(b, chunk...)
			if len(r) == 0 {
				break
			}
		}
		ends = append(ends, len(b))
	}
	return b, ends
}

// nor is one of which a kill let a part be written, to the end of a page, over an earlier log. What that log had there may look like
// anything: its record may begin before the page and end behind what was to be written, and be its last.
func TestTornOverEarlierLog(t *testing.T) {
	const page = 4 << 10
	rnd := rand.New(rand.NewPCG(1, 2))
	records := func(fill byte, most int) (all [][]byte) {
		for size := rnd.IntN(most); size > 0; {
			r := bytes.Repeat([]byte{fill}, 1+rnd.IntN(3*page))
			if rnd.IntN(4) == 0 {
				r = bytes.Repeat([]byte{fill}, 1+rnd.IntN(2*logBlock))
			}
			all, size = append(all, r), size-len(r)
		}
		return all
	}
	for round := range installed.Rounds(3000, 300) {
		earlier, _ := logOf(records('o', 4*logBlock), 7)
		b, ends := logOf(append(records('n', 2*logBlock), []byte("last")), 8)
		cut := min(len(b), (1+rnd.IntN(len(b)/page+1))*page)
		torn := append(bytes.Clone(earlier), make([]byte, max(0, len(b)-len(earlier))+rnd.IntN(2)*page)...)
		copy(torn, b[:cut])
		whole := 0
		for whole < len(ends) && ends[whole] <= cut {
			whole++
		}
		records, gaps := scanLog(torn, 8, false)
		if len(records) < whole || len(gaps) != 0 {
			t.Fatalf("round %d, cut at %d of %d, earlier %d: %d records of %d, %+v", round, cut, len(b), len(earlier), len(records), whole, gaps)
		}
	}
}

// What was written over an earlier log and has one octet that is not right is damage.
func TestDamageOverEarlierLog(t *testing.T) {
	text := bytes.Repeat([]byte("x"), 3*logBlock)
	earlier, _ := logOf([][]byte{text[:5000], text[:9000], text[:30000]}, 7)
	b, _ := logOf([][]byte{text[:3000], text[:7000]}, 8)
	for at := 3000 + 2*logHeader + 1; at < len(b); at += 13 {
		spoilt := bytes.Clone(earlier)
		copy(spoilt, b)
		spoilt[at] ^= 0x55
		if records, gaps := scanLog(spoilt, 8, false); len(records) != 1 || len(gaps) != 1 || !gaps[0].damage {
			t.Fatalf("an octet at %d of %d: %d records, %+v", at, len(b), len(records), gaps)
		}
	}
}
