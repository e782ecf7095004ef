package queuetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// archive is the sink of copies: it has one call a message.
type archive struct{ s *suite }

// Deliver implements queue.Sink.
func (a archive) Deliver(ctx context.Context, d *queue.Delivery) error {
	m, err := d.Open()
	if err != nil {
		return err
	}
	text, err := io.ReadAll(m)
	_ = m.Close()
	if err != nil {
		return err
	}
	a.s.mu.Lock()
	deliver := a.s.deliver
	a.s.mu.Unlock()
	if deliver != nil {
		if err := deliver(ctx, d, &queue.Recipient{Address: "archive"}); err != nil {
			return err
		}
	}
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	if d.Copy != "archive" || len(d.Recipients) != 2 {
		a.s.Errorf("copy %q to %d recipients", d.Copy, len(d.Recipients))
	}
	a.s.calls["archive of "+d.Entry.ID] = append(a.s.calls["archive of "+d.Entry.ID], string(text))
	return nil
}

var noSuchMailbox = &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "No such user"}

// While the archive is down messages are delivered and senders are told of those that bounce, at once. A node that is
// stopped then loses neither: another one has the copies made, and delivers nothing again.
func (s *suite) testCopies() {
	down := true
	s.deliver = func(_ context.Context, _ *queue.Delivery, r *queue.Recipient) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		switch {
		case r.Address == "archive" && down:
			return queue.Unreachable(errors.New("connection refused"))
		case r.Address == "nobody@example.net":
			return noSuchMailbox
		}
		return nil
	}
	q := s.start(s.first)
	s.copier = q
	for i := range 20 {
		s.submit(fmt.Sprint("Q", i), "alice", "bob@example.net", "nobody@example.net")
	}
	s.await("deliveries and notifications", func() bool {
		c := s.counts()
		return c["bob@example.net"] == 20 && c["alice@example.org"] == 20
	})
	s.await("the records of it", func() bool {
		for i := range 20 {
			m, err := s.first.Get(context.Background(), fmt.Sprint("Q", i))
			if err != nil || !m.OnlyCopies() || len(m.Status.Notes) > 0 {
				return false
			}
		}
		return true
	})
	s.stop(q)
	_ = s.first.Close() // or its turn to probe the archive would come
	s.mu.Lock()
	down = false
	s.mu.Unlock()
	s.first = s.join()
	s.start(s.first)
	s.await("the copies", s.empty)
	for i := range 20 {
		id := fmt.Sprint("Q", i)
		if c := s.calls["archive of "+id]; len(c) != 1 || !strings.HasPrefix(c[0], "Received: from here\r\nSubject: "+id+"\r\n") || !strings.HasSuffix(c[0], "\r\nText\r\n") {
			s.Errorf("the archive has of %s %q", id, c)
		}
	}
	if c := s.counts(); c["bob@example.net"] != 20 || c["nobody@example.net"] != 20 || c["alice@example.org"] != 20 {
		s.Errorf("calls %v", c)
	}
}

// A copy that expires, or is refused for good, ends without a word to the sender.
func (s *suite) testCopiesGivenUp() {
	s.copyExpire = 300 * time.Millisecond
	s.deliver = func(_ context.Context, d *queue.Delivery, r *queue.Recipient) error {
		switch {
		case r.Address == "archive" && d.Entry.ID == "Q1":
			return errors.New("not now")
		case r.Address == "archive":
			return noSuchMailbox
		}
		return nil
	}
	q := s.start(s.first)
	s.copier = q
	s.submit("Q1", "alice", "bob@example.net", "carol@example.net")
	s.submit("Q2", "alice", "bob@example.net", "carol@example.net")
	s.await("the end of both", s.empty)
	if c := s.counts(); c["bob@example.net"] != 2 || c["carol@example.net"] != 2 || len(c) != 2 {
		s.Errorf("calls %v", c)
	}
}
