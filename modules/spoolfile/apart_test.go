package spoolfile

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// What waits is not written again and again because of what comes and goes beside it.
func TestWaitingIsLeftAlone(t *testing.T) {
	const waiting, passing, piece = 1500, 1500, 4 << 10
	s := mustOpen(t, "spool", Options{FS: freeDisk{vfs.NewMem()}, Reserve: -1, Ballast: -1, memTable: 128 << 10})
	defer s.Close()
	body := bytes.Repeat([]byte("x"), piece)
	commit := func(id, lane string) {
		d, err := s.Create(background)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = d.Write(body)
		a := testAccept(id)
		a.Jobs = []queue.Job{queue.NewJob(a.Entry)}
		a.Jobs[0].Lane = lane
		if err := d.Commit(background, a); err != nil {
			t.Fatal(err)
		}
	}
	s.SetLane("down", queue.LaneState{})
	for i := range waiting {
		commit(fmt.Sprintf("A%05d", i), "down")
	}
	eng, err := s.engine()
	if err != nil {
		t.Fatal(err)
	}
	before := eng.db.Metrics()
	for i := range passing {
		commit(fmt.Sprintf("B%05d", i), "up")
		l, _, err := s.Lease(background, noon, queue.Want{})
		if err != nil {
			t.Fatal(err)
		}
		j := l.Job().Clone()
		for i := range j.Recipients {
			j.Recipients[i].State = queue.Delivered
		}
		if err := l.Record(background, &queue.Record{At: noon, Jobs: []queue.Job{*j}}); err != nil {
			t.Fatal(err)
		}
	}
	after := eng.db.Metrics()
	a, b := after.Total(), before.Total()
	if again := a.TableBytesCompacted - b.TableBytesCompacted; again > 3*waiting*piece { // it comes to where it stays
		t.Errorf("beside %d KiB that wait, %d KiB were written again", waiting*piece>>10, again>>10)
	}
	levels, err := eng.db.SSTables()
	if err != nil {
		t.Fatal(err)
	}
	for _, level := range levels {
		for _, table := range level {
			if from, to := table.Smallest.UserKey, table.Largest.UserKey; from[0] != to[0] && !ofJournal(from) {
				t.Errorf("a table has the keys %q to %q", from, to)
			}
		}
	}
}
