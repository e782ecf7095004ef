package queuetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// Each recipient has a fate of its own, in lanes of their own, and the sender is told once of those who failed.
func (s *suite) testFates() {
	busy := 0
	s.deliver = func(_ context.Context, _ *queue.Delivery, r *queue.Recipient) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		switch user, _, _ := strings.Cut(r.Address, "@"); {
		case user == "nobody":
			return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "No such user"}
		case user == "busy" && busy < 3:
			busy++
			return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 2, 0}, Message: "Mailbox busy"}
		}
		return nil
	}
	s.start(s.first)
	s.submit("Q1", "alice", "bob@a.example", "nobody@a.example", "nobody@b.example", "busy@c.example", "carol@d.example")
	s.await("all is delivered", s.empty)
	c := s.counts()
	if c["bob@a.example"] != 1 || c["carol@d.example"] != 1 || c["nobody@a.example"] != 1 || c["nobody@b.example"] != 1 || c["busy@c.example"] != 4 || c["alice@example.org"] != 1 {
		s.Errorf("calls %v", c)
	}
	told := s.calls["alice@example.org"][0]
	if !strings.Contains(told, "nobody@a.example") || !strings.Contains(told, "nobody@b.example") || strings.Contains(told, "Final-Recipient: rfc822; busy@c.example") {
		s.Errorf("told of\n%s", told)
	}
}

// Who waits is told so once, and of the end once; both at the end, where that comes soon.
func (s *suite) testWarned() {
	s.warn = 200 * time.Millisecond
	s.deliver = func(_ context.Context, _ *queue.Delivery, r *queue.Recipient) error {
		if r.Address == "busy@example.net" {
			return errors.New("not now")
		}
		return nil
	}
	s.start(s.first)
	s.unhurried(time.Second, func(id string) bool {
		s.submit(id, "alice", "busy@example.net", "carol@example.com")
		s.await("both notifications", s.empty)
		s.mu.Lock()
		defer s.mu.Unlock()
		told := make(map[string]int)
		for _, m := range s.calls["alice@example.org"] {
			_, action, _ := strings.Cut(m, "Action: ")
			action, _, _ = strings.Cut(action, "\r\n")
			told[action]++
		}
		if n := len(s.calls["carol@example.com"]); told["failed"] != 1 || told["delayed"] > 1 || len(s.calls["alice@example.org"]) != told["failed"]+told["delayed"] || n != 1 {
			s.Errorf("told %v; carol has %d", told, n)
		}
		clear(s.calls)
		return told["delayed"] == 1 // there was time for it
	})
}

// What is deleted while it is being delivered is not tried again, whatever comes of it.
func (s *suite) testDeletedInFlight() {
	began, proceed := make(chan struct{}), make(chan struct{})
	s.deliver = func(context.Context, *queue.Delivery, *queue.Recipient) error {
		close(began)
		<-proceed
		return errors.New("not now")
	}
	s.start(s.first)
	s.submit("Q1", "alice", "bob@example.net")
	<-began
	other := s.join()
	if n, err := other.Delete(context.Background(), "Q1"); n != 1 || err != nil {
		s.Errorf("%d in flight, %v", n, err)
	}
	close(proceed)
	s.await("it is gone", s.empty)
	time.Sleep(200 * time.Millisecond) // several retries
	if n := s.counts()["bob@example.net"]; n != 1 {
		s.Errorf("tried %d times", n)
	}
}

// Of what waits most turns go to the higher priority, though the other came before, and some to the lower.
func (s *suite) testPriority() {
	const each = 40
	for i := range 2 * each {
		s.priority = i / each * 3
		s.submit(fmt.Sprint(string("LH"[i/each]), i), "alice", "bob@example.net")
	}
	s.concurrency = 1
	s.deliver = func(context.Context, *queue.Delivery, *queue.Recipient) error {
		time.Sleep(time.Millisecond)
		return nil
	}
	s.start(s.first)
	s.await("all is delivered", s.empty)
	high := 0
	for _, m := range s.calls["bob@example.net"][:each] {
		if strings.Contains(m, "Subject: H") {
			high++
		}
	}
	if high < each*3/4 || high == each {
		s.Errorf("of the first %d deliveries %d are of the higher priority", each, high)
	}
}
