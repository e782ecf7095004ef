package spoolfile

import (
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/dsn"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// A process whose clock was ten years ahead has put off a job, and has noted something for the sender. After a start with
// the right time both are due now, as is what was accepted meanwhile.
func TestClockWasAhead(t *testing.T) {
	dir := t.TempDir()
	ahead := time.Now().AddDate(10, 0, 0)
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	accept := func(id string) {
		t.Helper()
		d, err := s.Create(background)
		if err != nil {
			t.Fatal(err)
		}
		e := &queue.Entry{ID: id, Accepted: ahead, Sender: "alice@example.org", ReturnPath: true, Recipients: []queue.Recipient{{Address: "bob@a.example"}, {Address: "bob@b.example"}}}
		one, two := queue.NewJob(e), queue.NewJob(e)
		one.Recipients, two.Recipients, two.Number = one.Recipients[:1], two.Recipients[1:], 2
		one.Deadline, two.Deadline = ahead.Add(time.Hour), ahead.Add(time.Hour)
		if err := d.Commit(background, &queue.Accept{Entry: e, Jobs: []queue.Job{one, two}}); err != nil {
			t.Fatal(err)
		}
	}
	accept("Q1")
	for i := range 2 {
		l, _, err := s.Lease(background, ahead, queue.Want{})
		if err != nil {
			t.Fatal(err)
		}
		j := *l.Job()
		r := &queue.Record{At: ahead}
		j.Due, j.Attempts = ahead.Add(time.Hour), 1
		if i == 0 {
			j.Recipients[0].State = queue.Failed
			r.Notes, r.NotesDue = []queue.Note{{Time: ahead, Action: dsn.Failed, To: j.Indexes()}}, ahead.Add(2*time.Minute)
		}
		r.Jobs = []queue.Job{j}
		if err := l.Record(background, r); err != nil {
			t.Fatal(err)
		}
	}
	accept("Q2")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(dir, Options{}); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	kinds := make(map[string]int)
	for {
		l, _, err := s.Lease(background, time.Now(), queue.Want{})
		if err != nil {
			break
		}
		kinds[l.Entry().ID+string(l.Job().Kind)]++
	}
	if kinds["Q1"] != 1 || kinds["Q1notify"] != 1 || kinds["Q2"] != 2 {
		t.Errorf("leased: %v", kinds)
	}
}
