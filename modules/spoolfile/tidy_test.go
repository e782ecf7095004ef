package spoolfile

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// The room of delivered messages comes back, while the spool is used and with a
// full disk too.
func TestRoomComesBack(t *testing.T) {
	for _, full := range []bool{false, true} {
		fs := newFaulty(privateFS{vfs.Default})
		s, err := Open(t.TempDir(), Options{FS: fs})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		piece := make([]byte, 64<<10)
		const messages, stay = 300, 20
		for i := range messages {
			d, err := s.Create(background)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = d.Write(piece)
			if err := d.Commit(background, testAccept(fmt.Sprintf("Q%05d", i))); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.current.read(func(db *pebble.DB) error { return db.Flush() }); err != nil {
			t.Fatal(err)
		}
		tables := func() (size int64) {
			if err := s.current.read(func(db *pebble.DB) error { size = db.Metrics().Total().TablesSize; return nil }); err != nil {
				t.Fatal(err)
			}
			return size
		}
		if size := tables(); size < 8<<20 {
			t.Fatalf("only %d octets in tables: the test says nothing", size)
		}
		if full {
			fs.avail.Store(uint64(defaultReserve) - 1)
		}
		leave := 0
		if full {
			leave = stay
		}
		for range messages - leave {
			l, _, err := s.Lease(background, noon, queue.Want{})
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Record(background, as(l, queue.Delivered)); err != nil {
				t.Fatal(err)
			}
			if full {
				if _, err := s.Create(background); err == nil {
					t.Fatal("taken without room")
				}
			}
		}
		for tables() > 4<<20 { // or the test runs into its time limit
			runtime.Gosched()
		}
		if got := s.live.Load(); full && got != int64(stay*(64<<10+len(testHeader))) || !full && got != 0 {
			t.Errorf("%d octets are said to live", got)
		}
		s.Close()
	}
}
