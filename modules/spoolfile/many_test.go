package spoolfile

import (
	"math/rand/v2"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// What is known of an entry with many jobs is what walking through them finds, whatever becomes of them; nothing stays of it.
func TestManyJobs(t *testing.T) {
	s, err := Open(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const jobs = 3 * manyJobs
	submitMany(t, s, "Q1", jobs)
	e, rnd := s.schedule.find("Q1"), rand.New(rand.NewPCG(1, 1))
	for ended := 0; ended < jobs; {
		l, _, err := s.Lease(background, noon, queue.Want{})
		if err != nil {
			t.Fatal(err)
		}
		state := queue.Delivered
		if rnd.IntN(3) == 0 {
			state = queue.Pending
		} else {
			ended++
		}
		r := as(l, state)
		for i := range r.Jobs {
			r.Jobs[i].Due = noon
		}
		if err := l.Record(background, r); err != nil {
			t.Fatal(err)
		}
		s.schedule.mu.Lock()
		if x := s.schedule.many[e]; x == nil != (ended == jobs) || x != nil && (x.open != e.open() || x.open != jobs-ended || x.jobs[7] != e.job(7) || x.special != e.special()) {
			t.Fatalf("after %d of %d: %+v", ended, jobs, x)
		}
		s.schedule.mu.Unlock()
	}
	if s.schedule.find("Q1") != nil {
		t.Error("it is still there")
	}
}
