package spoolfile

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// The stamps of all jobs are known, after a start too: of those accepted, and of those that were routed anew.
func TestStamps(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Stamps(); len(got) != 0 {
		t.Errorf("%q of nothing", got)
	}
	for i, stamp := range []string{"1-a", "2-a", "3-b", "3-b"} {
		d, err := s.Create(background)
		if err != nil {
			t.Fatal(err)
		}
		a := testAccept(fmt.Sprintf("Q%d", i))
		a.Jobs = []queue.Job{queue.NewJob(a.Entry)}
		a.Jobs[0].Lane, a.Jobs[0].Stamp = `relay/"stamp":"x`, stamp
		if err := d.Commit(background, a); err != nil {
			t.Fatal(err)
		}
	}
	l, _, err := s.Lease(background, noon.Add(time.Hour), queue.Want{})
	if err != nil {
		t.Fatal(err)
	}
	j := *l.Job().Clone()
	j.Stamp = "4-c"
	if err := l.Record(background, &queue.Record{At: noon, Jobs: []queue.Job{j}}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		got := s.Stamps()
		for i := range got {
			got[i] = got[i][len("0-"):]
		}
		if slices.Sort(got); !slices.Equal(got, []string{"a", "b", "c"}) {
			t.Errorf("%q", got)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if s, err = Open(dir, Options{}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 2 * maxStamps {
		s.stamps.note(fmt.Sprintf("1-%d", i))
	}
	if got := s.Stamps(); len(got) > maxStamps+1 || !slices.Contains(got, "") {
		t.Errorf("%d stamps: %q", len(got), got)
	}
	s.Close()
}
