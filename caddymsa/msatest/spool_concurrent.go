package msatest

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func (s *spoolTest) testConcurrent() {
	// Clients, workers and an operator at once; each job is delivered once, its message whole.
	const clients = 8
	each := installed.Rounds(15, 5)
	var mu sync.Mutex
	seen := make(map[string]int)
	for _, lane := range []string{"a", "b"} {
		s.SetLane(lane, queue.LaneState{Limit: 2})
	}
	var committed, working sync.WaitGroup
	for c := range clients {
		committed.Go(func() {
			for i := range each {
				d, err := s.Create(background)
				if err != nil {
					s.Error(err)
					return
				}
				seed := c*each + i
				if _, err := d.Write(spoolBody(seed, seed*seed*11)); err != nil {
					s.Error(err)
				}
				if i%5 == 4 {
					d.Abort()
					continue
				}
				a := inLanes(fmt.Sprintf("Q%04d", seed), spoolNoon, "a", "b", "c")
				a.Header = []byte("H\r\n")
				if err := d.Commit(background, a); err != nil {
					s.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	for range 4 {
		working.Go(func() {
			for {
				l, _, err := s.Lease(background, spoolNoon, queue.Want{})
				if errors.Is(err, queue.ErrNoneDue) {
					select {
					case <-done:
						return
					case <-time.After(time.Millisecond):
						continue
					}
				}
				if err != nil {
					s.Error(err)
					return
				}
				var r *queue.Record
				if l.Job().Attempts == 0 { // fails the first time
					r = deferred(l, spoolNoon)
				} else {
					var seed int
					_, _ = fmt.Sscanf(l.Entry().ID, "Q%d", &seed)
					if !bytes.Equal(s.message(l), append([]byte("H\r\n"), spoolBody(seed, seed*seed*11)...)) {
						s.Errorf("%s came back changed", l.Entry().ID)
					}
					mu.Lock()
					seen[l.Entry().ID+" "+l.Job().Lane]++
					mu.Unlock()
					r = delivered(l)
				}
				if err := l.Record(background, r); err != nil {
					s.Error(err)
				}
			}
		})
	}
	working.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
				s.ids()
			}
		}
	})
	committed.Wait()
	// Whoever finds nothing due now has nothing left to wait for, once all are done.
	for {
		mu.Lock()
		n := len(seen)
		mu.Unlock()
		if n == 3*clients*each*4/5 || s.Failed() {
			break
		}
		time.Sleep(time.Millisecond)
	}
	close(done)
	working.Wait()
	for id, n := range seen {
		if n != 1 {
			s.Errorf("%s was delivered %d times", id, n)
		}
	}
	s.wantIDs()
}
