package spoolfile

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func addJob(s *schedule, id string, user uint64, lane string, priority int8, due int64) *job {
	e := &entry{id: id, user: user, priority: priority}
	j := e.add(1)
	s.reserve(e)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(j, lane, due, 0, false)
	return j
}

func (s *schedule) end(j *job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.release(j)
	j.lane.unlink(j)
	j.ended = true
	s.remove(j.e)
}

// At a lane that takes one at a time each of two, ten or a hundred users has its message among the next
// (users + 1), although one of them has ten thousand there.
func TestFairness(t *testing.T) {
	for _, users := range []int{2, 10, 100} {
		s := newSchedule()
		s.turns.set(s.lane("slow"), queue.LaneState{Limit: 1})
		for i := range 10000 {
			addJob(s, fmt.Sprintf("A%05d", i), 0, "slow", 0, noon.UnixNano())
		}
		for range 50 { // it is well under way
			j, _ := s.take(noon, queue.Want{})
			s.end(j)
		}
		for u := 1; u < users; u++ {
			addJob(s, fmt.Sprintf("B%05d", u), uint64(u), "slow", 0, noon.UnixNano())
		}
		for n, missing := 0, users-1; missing > 0; n++ {
			if n > users+1 {
				t.Fatalf("%d users: %d wait after %d turns", users, missing, n)
			}
			j, _ := s.take(noon, queue.Want{})
			if j.e.user != 0 {
				missing--
			}
			s.end(j)
		}
	}
}

// Whatever is done with lanes, users, priorities and deadlines, each job is leased when its time has
// come, and once.
func TestTurnsAtRandom(t *testing.T) {
	for seed := range uint64(30) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		s := newSchedule()
		lane := func() string { return fmt.Sprintf("relay/%d", rnd.IntN(6)) }
		leased := make(map[*job]bool)
		left, now := 0, noon
		for step := range 3000 {
			switch rnd.IntN(7) {
			case 0, 1:
				j := addJob(s, fmt.Sprintf("Q%05d", step), uint64(rnd.IntN(5)), lane(), int8(rnd.IntN(3)), now.Add(time.Duration(rnd.IntN(20))*time.Second).UnixNano())
				if rnd.IntN(4) == 0 {
					s.mu.Lock()
					s.unsettle(j)
					s.put(j, j.lane.name, j.due, now.Add(time.Duration(rnd.IntN(40))*time.Second).UnixNano(), false)
					s.mu.Unlock()
				}
				left++
			case 2, 3:
				if j, _ := s.take(now, queue.Want{Proven: rnd.IntN(3) == 0}); j != nil {
					if leased[j] {
						t.Fatal("leased twice")
					}
					leased[j] = true
				}
			case 4:
				for j := range leased {
					delete(leased, j)
					if rnd.IntN(2) == 0 {
						s.end(j)
						left--
						break
					}
					s.mu.Lock()
					s.release(j)
					s.put(j, lane(), now.UnixNano(), 0, false)
					s.mu.Unlock()
					break
				}
			case 5:
				s.mu.Lock()
				s.turns.set(s.lane(lane()), queue.LaneState{Limit: rnd.IntN(4) - 1, Proven: rnd.IntN(2) == 0})
				s.mu.Unlock()
			case 6:
				now = now.Add(time.Second)
			}
		}
		s.mu.Lock()
		for _, l := range s.lanes {
			s.turns.set(l, queue.LaneState{Limit: -1})
		}
		s.mu.Unlock()
		got := len(leased)
		for {
			j, _ := s.take(now.Add(time.Hour), queue.Want{})
			if j == nil {
				break
			}
			got++
		}
		if got != left {
			t.Fatalf("seed %d: %d of %d jobs were leased in the end", seed, got, left)
		}
		for _, l := range s.lanes {
			if l.waiting != 0 {
				t.Errorf("seed %d: lane %s counts %d that wait", seed, l.name, l.waiting)
			}
		}
	}
}

// fill puts waiting jobs into a store, in so many lanes, of which nine in ten are down.
func fill(tb testing.TB, s *Store, jobs, lanes int) {
	for l := range lanes {
		s.SetLane(fmt.Sprintf("relay/d%d.example", l), queue.LaneState{Limit: (l % 10 / 9) * 20})
	}
	done := make(chan error)
	const writers = 32
	for w := range writers {
		go func() {
			for i := w; i < jobs; i += writers {
				a := testAccept(fmt.Sprintf("%016X", i*7919))
				a.Entry.User, a.Entry.Server = fmt.Sprintf("user%d@example.org", i%100), "msa.example.org"
				a.Jobs[0].Lane, a.Jobs[0].Deadline = fmt.Sprintf("relay/d%d.example", i%lanes), noon.Add(5*24*time.Hour)
				d, err := s.Create(background)
				if err == nil {
					_, _ = d.Write([]byte("Subject: waits\r\n\r\nfor its turn\r\n"))
					err = d.Commit(background, a)
				}
				if err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range writers {
		if err := <-done; err != nil {
			tb.Fatal(err)
		}
	}
}

// BenchmarkLanes is what a lease, with its record, costs beside 200,000 and 500,000 waiting jobs of which nine in
// ten wait in lanes that are down.
func BenchmarkLanes(b *testing.B) {
	for _, size := range [][2]int{{200000, 1}, {200000, 1000}, {200000, 100000}, {500000, 1000}, {500000, 100000}} {
		jobs, lanes := size[0], size[1]
		b.Run(fmt.Sprintf("%d jobs/%d lanes", jobs, lanes), func(b *testing.B) {
			dir := b.TempDir()
			s, err := Open(dir, Options{})
			if err != nil {
				b.Fatal(err)
			}
			fill(b, s, jobs, max(lanes, 10))
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			memory := inUse()
			began := time.Now()
			s, err = Open(dir, Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			toOpen, held := time.Since(began).Seconds(), float64(inUse()-memory)/(1<<20)
			for l := range max(lanes, 10) {
				s.SetLane(fmt.Sprintf("relay/d%d.example", l), queue.LaneState{Limit: (l % 10 / 9) * 20})
			}
			if l, _, err := s.Lease(background, noon, queue.Want{}); err == nil { // all become due
				l.Release()
			}
			began = time.Now()
			n := 0
			_ = s.List(background, "", func(*queue.EntryView) bool { n++; return n < 100 })
			page := float64(time.Since(began).Microseconds())
			b.ResetTimer()
			for b.Loop() {
				l, _, err := s.Lease(background, noon, queue.Want{})
				if err != nil {
					b.Fatal(err)
				}
				l.Release()
			}
			b.ReportMetric(toOpen, "s-to-open") // now: ResetTimer forgets
			b.ReportMetric(held, "MiB")
			b.ReportMetric(page, "µs/page")
		})
	}
}

// One turn in eight goes lower, to the lower priorities by turns; where there is but one none is lost.
func TestLowTurns(t *testing.T) {
	const turns = 320
	for _, c := range []struct{ priorities, each []int }{
		{[]int{0}, []int{turns}},
		{[]int{4, 0}, []int{280, 40}},
		{[]int{9, 0, -9}, []int{280, 20, 20}},
	} {
		s := newSchedule()
		s.turns.set(s.lane("x"), queue.LaneState{Limit: -1, Proven: true})
		for i, p := range c.priorities {
			for n := range turns {
				addJob(s, fmt.Sprintf("%c%04d", 'A'+i, n), uint64(i), "x", int8(p), noon.UnixNano())
			}
		}
		got := make(map[int]int)
		for range turns {
			j, _ := s.take(noon, queue.Want{})
			got[int(j.e.priority)]++
			s.end(j)
		}
		for i, p := range c.priorities {
			if got[p] != c.each[i] {
				t.Errorf("of priorities %v the turns are %v", c.priorities, got)
			}
		}
	}
}
