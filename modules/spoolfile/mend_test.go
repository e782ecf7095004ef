package spoolfile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"path"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// unseen changes octets so that no checksum of the store's polynomial differs.
func unseen(b []byte) {
	var change [8]byte
	binary.LittleEndian.PutUint64(change[:], 1|crc32.Castagnoli<<1)
	for i, x := range change[:5] {
		b[i] ^= x
	}
}

func TestUnseen(t *testing.T) {
	b := randomOctets(rand.New(rand.NewPCG(1, 1)), 100)
	store, ours := crc32.Checksum(b, castagnoli), crc32.Checksum(b, independent)
	unseen(b[40:])
	if crc32.Checksum(b, castagnoli) != store || crc32.Checksum(b, independent) == ours {
		t.Error("it is seen, or our own checksum does not see it")
	}
}

// where a bit is put right by the store's checksum, what it says of a message is no proof: other octets may be damaged
// too. A message is served as it was, or named as damaged; of one damaged bit alone it is served.
func TestDamageBehindAMendedBit(t *testing.T) {
	flip := func(b []byte) { b[60] ^= 4 }
	for _, clean := range []bool{true, false} {
		for _, c := range []struct {
			name   string
			damage func(b []byte)
			whole  bool
		}{
			{"a bit", flip, true},
			{"a bit and others", func(b []byte) { flip(b); unseen(b[70:]) }, false},
			{"others", func(b []byte) { unseen(b[70:]) }, false},
		} {
			t.Run(fmt.Sprintf("clean %t, %s", clean, c.name), func(t *testing.T) {
				fs, k := template(t, clean)
				id := k.damageBody(t, fs, c.damage)
				a := lookAt(newFaulty(fs), k, nil)
				for _, w := range a.wrong {
					t.Errorf("%s: %s\n%s", id, w, a.said)
				}
				if bad := a.held + a.lost; c.whole && bad > 0 || !c.whole && bad != 1 {
					t.Errorf("%s: %d served, %d held, %d lost, of %d\n%s", id, a.served, a.held, a.lost, len(k.messages), a.said)
				}
			})
		}
	}
}

// damageBody damages the octets of one message that waits.
func (k *known) damageBody(t *testing.T, fs *vfs.MemFS, damage func(b []byte)) (id string) {
	t.Helper()
	names, err := fs.List("/spool/store")
	if err != nil {
		t.Fatal(err)
	}
	for id, state := range k.messages {
		body := k.bodies[id]
		if strings.Contains(state, "the test says so") {
			continue // it is not read
		}
		found := false
		for _, name := range names {
			b, err := readFile(fs, path.Join("/spool/store", name))
			if err != nil {
				t.Fatal(err)
			}
			at := bytes.Index(b, body)
			if at < 0 || len(body) < 100 {
				continue
			}
			found = true // and perhaps again in a log that is not needed any more
			damage(b[at:])
			if err := writeFile(fs, path.Join("/spool/store", name), b); err != nil {
				t.Fatal(err)
			}
		}
		if found {
			return id
		}
	}
	t.Fatal("no message is found")
	return ""
}
