package spoolfile

import (
	"bytes"
	"hash/crc32"
	"math/bits"
	"math/rand/v2"
	"testing"
)

func randomOctets(rnd *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return b
}

// One damaged bit, of what a checksum was made of or of the checksum, is put right; of an octet that is damaged more than
// that nothing is changed.
func TestMend(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		b := randomOctets(rnd, 1+rnd.IntN(300))
		stored := bits.RotateLeft32(crc32.Checksum(b, castagnoli), 17) + 0xa282ead8
		was := bytes.Clone(b)
		at, change := rnd.IntN(len(b)), byte(1+rnd.IntN(255))
		b[at] ^= change
		damaged, bit := bytes.Clone(b), bits.OnesCount8(change) == 1
		changed, ok := mend(b, stored)
		if ok != bit || changed != bit || bit && !bytes.Equal(b, was) || !bit && !bytes.Equal(b, damaged) {
			t.Fatalf("octet %d of %d, changed by %#x: %t %t", at, len(b), change, changed, ok)
		}
		copy(b, was)
		if changed, ok := mend(b, stored^1<<rnd.IntN(32)); !ok || changed || !bytes.Equal(b, was) {
			t.Fatal("a damaged checksum is not told apart")
		}
	}
}

func TestWindow(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for range 200 {
		b := randomOctets(rnd, 1+rnd.IntN(5000))
		n := 1 + rnd.IntN(len(b))
		at := rnd.IntN(len(b) - n + 1)
		table := []*crc32.Table{castagnoli, independent}[rnd.IntN(2)]
		if got := window(b, n, crc32.Checksum(b[at:at+n], table), table); got < 0 || !bytes.Equal(b[got:got+n], b[at:at+n]) {
			t.Fatalf("%d octets at %d of %d: found at %d", n, at, len(b), got)
		}
	}
	if got := window([]byte("nothing of the kind"), 4, 12345, independent); got >= 0 {
		t.Error(got)
	}
}
