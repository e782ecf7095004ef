package spoolfile

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"
)

// castagnoli is the polynomial of pebble's checksums, and of those of files.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// unmask undoes what pebble does to a checksum before it writes it.
func unmask(stored uint32) uint32 { return bits.RotateLeft32(stored-0xa282ead8, 15) }

// mask is what pebble writes of a checksum.
func mask(sum uint32) uint32 { return bits.RotateLeft32(sum, 17) + 0xa282ead8 }

// oneBit finds the bit that differs from what a checksum was made of, if only one does: the place of its octet, and
// the bit. Octets that are damaged more than that may seem to be so too, once in 16,000 for a log's chunk: what is mended
// needs further proof.
func oneBit(n int, sum, want uint32) (at int, bit byte, ok bool) {
	return oneOctet(n, sum, want, func(x byte) bool { return x&(x-1) == 0 })
}

// oneOctet finds the octet that differs, if only one does and the difference is like that: its place, and the difference.
func oneOctet(n int, sum, want uint32, like func(byte) bool) (at int, x byte, ok bool) {
	// What an error of one octet does to the sum is the table's entry, shifted once for each octet after it.
	for s := sum ^ want; n > 0; {
		n--
		i := topOctet[s>>24]
		if castagnoli[i] == s && like(i) {
			return n, i, true
		}
		s = (s^castagnoli[i])<<8 | uint32(i)
	}
	return 0, 0, false
}

// nearly tells whether all but one octet are what a checksum, which pebble wrote, was made of. It may be one of the checksum.
func nearly(b []byte, stored uint32) bool {
	sum := crc32.Checksum(b, castagnoli)
	if d := mask(sum) ^ stored; (bits.Len32(d)-1)/8 == bits.TrailingZeros32(d)/8 {
		return true
	}
	_, _, ok := oneOctet(len(b), sum, unmask(stored), func(byte) bool { return true })
	return ok
}

// topOctet finds an entry of the table by its first octet, which no other has.
var topOctet = func() (t [256]byte) {
	for i, v := range castagnoli {
		t[v>>24] = byte(i)
	}
	return t
}()

// mend puts a bit right that differs from what a checksum, which pebble wrote, was made of. It may be one of the checksum.
func mend(b []byte, stored uint32) (changed, ok bool) {
	sum := crc32.Checksum(b, castagnoli)
	if d := mask(sum) ^ stored; d&(d-1) == 0 {
		return false, true
	}
	at, bit, ok := oneBit(len(b), sum, unmask(stored))
	if ok {
		b[at] ^= bit
	}
	return ok, ok
}

// window finds where n octets with a checksum are in b: -1 if they are not.
func window(b []byte, n int, sum uint32, table *crc32.Table) int {
	if n > len(b) || n == 0 {
		return -1
	}
	step := func(s uint32, x byte) uint32 { return table[byte(s)^x] ^ s>>8 }
	// What an octet still does to the sum n octets later.
	var gone [256]uint32
	for bit := 1; bit < 256; bit <<= 1 {
		s := table[bit]
		for range n {
			s = step(s, 0)
		}
		for x := range gone {
			if x&bit != 0 {
				gone[x] ^= s
			}
		}
	}
	want := sum ^ crc32.Checksum(make([]byte, n), table) // without what the sum begins and ends with
	s := uint32(0)
	for i, x := range b {
		s = step(s, x)
		if i >= n {
			s ^= gone[b[i-n]]
		}
		if i >= n-1 && s == want {
			return i - n + 1
		}
	}
	return -1
}

func le32(b []byte) uint32 { return binary.LittleEndian.Uint32(b) }

// putMasked writes a checksum as pebble does.
func putMasked(b []byte, sum uint32) {
	binary.LittleEndian.PutUint32(b, mask(sum))
}
