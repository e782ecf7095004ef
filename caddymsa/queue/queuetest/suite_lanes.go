package queuetest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// However many nodes deliver, a lane has no more at once than it may have, and all of it is delivered.
func (s *suite) testConcurrency() {
	const limit, messages = 4, 200
	s.concurrency = limit
	now, most := 0, 0
	s.deliver = func(context.Context, *queue.Delivery, *queue.Recipient) error {
		s.mu.Lock()
		now++
		most = max(most, now)
		s.mu.Unlock()
		time.Sleep(2 * time.Millisecond)
		s.mu.Lock()
		now--
		s.mu.Unlock()
		return nil
	}
	for i := range messages {
		s.submit(fmt.Sprint("Q", i), fmt.Sprint("user", i%3), "bob@example.net")
	}
	s.start(s.first)
	s.start(s.join())
	s.start(s.join())
	s.await("all is delivered", s.empty)
	if most > limit || s.counts()["bob@example.net"] != messages {
		s.Errorf("%d at once in a lane that takes %d; %v", most, limit, s.counts())
	}
}

// A lane that an operator pauses on one node is paused on all, and goes on when it is resumed on another.
func (s *suite) testPaused() {
	ctx := context.Background()
	ready, done := false, 0
	s.deliver = func(_ context.Context, _ *queue.Delivery, r *queue.Recipient) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		switch {
		case r.Address != "bob@example.net":
		case !ready:
			return errors.New("not now")
		default:
			done++
		}
		return nil
	}
	one := s.start(s.first)
	two := s.start(s.join())
	s.submit("Q0", "alice", "bob@example.net")
	s.await("the lane is known", func() bool { return s.counts()["bob@example.net"] > 0 })
	if err := one.Pause(ctx, "test/example.net", "maintenance"); err != nil {
		s.Fatal(err)
	}
	paused := func(q *queue.Queue) bool {
		lanes, err := q.Lanes(ctx)
		for _, l := range lanes {
			if l.Name == "test/example.net" {
				return err == nil && l.State == queue.LanePaused
			}
		}
		return false
	}
	s.await("it is paused on both", func() bool { return paused(one) && paused(two) })
	s.mu.Lock()
	ready = true
	s.mu.Unlock()
	for i := range 20 {
		s.submit(fmt.Sprint("Q", i+1), "alice", "bob@example.net", "carol@other.example")
	}
	s.await("the other lane", func() bool { return s.counts()["carol@other.example"] == 20 })
	s.mu.Lock()
	if done != 0 {
		s.Errorf("%d were delivered while the lane was paused", done)
	}
	s.mu.Unlock()
	if err := two.Resume(ctx, "test/example.net"); err != nil {
		s.Fatal(err)
	}
	s.await("all is delivered", s.empty)
	if done != 21 {
		s.Errorf("%d deliveries of 21", done)
	}
}

// What expires while its lane is down is bounced all the same.
func (s *suite) testExpiredWhileDown() {
	s.expire = 500 * time.Millisecond
	s.deliver = func(_ context.Context, _ *queue.Delivery, r *queue.Recipient) error {
		if r.Address == "bob@down.example" {
			return queue.Unreachable(errors.New("connection refused"))
		}
		return nil
	}
	s.start(s.first)
	for i := range 10 {
		s.submit(fmt.Sprint("Q", i), "alice", "bob@down.example")
	}
	s.await("the bounces", s.empty)
	if n := s.counts()["alice@example.org"]; n != 10 {
		s.Errorf("%d bounces of 10", n)
	}
}
