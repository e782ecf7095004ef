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

// One damaged octet, of what a checksum was made of or of the checksum, is put right.
func TestMend(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		b := randomOctets(rnd, 1+rnd.IntN(300))
		stored := bits.RotateLeft32(crc32.Checksum(b, castagnoli), 17) + 0xa282ead8
		was := bytes.Clone(b)
		at, change := rnd.IntN(len(b)), byte(1+rnd.IntN(255))
		b[at] ^= change
		bit, ok := mend(b, stored)
		if !ok || !bytes.Equal(b, was) || bit != (bits.OnesCount8(change) == 1) {
			t.Fatalf("octet %d of %d, changed by %#x: %t %t", at, len(b), change, bit, ok)
		}
		if _, ok := mend(b, stored^1<<rnd.IntN(32)); !ok || !bytes.Equal(b, was) {
			t.Fatal("a damaged checksum is not told apart")
		}
	}
}

// Two damaged octets are hardly ever taken for one.
func TestMendOnlyOne(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	wrong := 0
	for range 5000 {
		b := randomOctets(rnd, 200)
		stored := bits.RotateLeft32(crc32.Checksum(b, castagnoli), 17) + 0xa282ead8
		b[rnd.IntN(100)] ^= byte(1 + rnd.IntN(255))
		b[100+rnd.IntN(100)] ^= byte(1 + rnd.IntN(255))
		if _, ok := mend(b, stored); ok {
			wrong++
		}
	}
	if wrong > 5 {
		t.Errorf("%d of 5000", wrong)
	}
}

func TestWindow(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for range 200 {
		b := randomOctets(rnd, 1+rnd.IntN(5000))
		n := 1 + rnd.IntN(len(b))
		at := rnd.IntN(len(b) - n + 1)
		if got := window(b, n, crc32.Checksum(b[at:at+n], castagnoli)); got < 0 || !bytes.Equal(b[got:got+n], b[at:at+n]) {
			t.Fatalf("%d octets at %d of %d: found at %d", n, at, len(b), got)
		}
	}
	if got := window([]byte("nothing of the kind"), 4, 12345); got >= 0 {
		t.Error(got)
	}
}
