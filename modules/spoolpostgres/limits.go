package spoolpostgres

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// Role is what a node does with messages.
type Role string

// Roles of a node.
const (
	Both    Role = "both" // the default
	Accept  Role = "accept"
	Deliver Role = "deliver"
)

var errDelivers = errors.New("this node only delivers: its spool has role deliver, so that clients must be sent to another node")

func (s *Store) delivers() bool { return *s.role.Load() != Accept }

// Adjust sets what may be changed while the spool is open.
func (s *Store) Adjust(o Options) {
	role := o.Role
	if role == "" {
		role = Both
	}
	s.role.Store(&role)
	q := &s.quota
	q.mu.Lock()
	defer q.mu.Unlock()
	q.maxMessages, q.maxOctets = o.MaxMessages, o.MaxOctets
}

// quota is how much the spool takes, and how much it has as far as this node knows: it looks once a second.
type quota struct {
	mu                     sync.Mutex
	maxMessages, maxOctets int64 // 0 for any number
	messages, octets       int64
	newMessages, newOctets int64 // admitted since the last look began
	full                   bool
}

// admit gives ErrFull when there is as much as may be. Messages that arrive at the same time may go over it together.
func (s *Store) admit(ctx context.Context) error {
	if queue.IsNotification(ctx) {
		return nil
	}
	if *s.role.Load() == Deliver && !queue.IsMoved(ctx) {
		return errDelivers
	}
	q := &s.quota
	q.mu.Lock()
	defer q.mu.Unlock()
	full := q.maxMessages > 0 && q.messages >= q.maxMessages || q.maxOctets > 0 && q.octets >= q.maxOctets
	switch {
	case full && !q.full:
		s.log.Error("the spool has reached its limits: messages are refused until some are delivered",
			zap.String("schema", s.schema), zap.Int64("messages", q.messages), zap.Int64("octets", q.octets))
	case q.full && !full:
		s.log.Info("the spool is below its limits again", zap.String("schema", s.schema))
	}
	if q.full = full; full {
		return fmt.Errorf("%w: %d messages of %d octets are in it", queue.ErrFull, q.messages, q.octets)
	}
	return nil
}

// admitted counts a message that was accepted since the last look.
func (q *quota) admitted(octets int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.messages++
	q.octets += octets
	q.newMessages++
	q.newOctets += octets
}

// looks begins a look.
func (q *quota) looks() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.newMessages, q.newOctets = 0, 0
}

// saw ends a look. What was admitted meanwhile is added: the look may have been too early for it. Where it was not, the message counts twice until the
// next look, so that the spool is rather full too early, for a second, than too late.
func (q *quota) saw(messages, octets int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.messages, q.octets = messages+q.newMessages, octets+q.newOctets
}

// count looks how much there is, where that is limited.
func (s *Store) count(ctx context.Context) {
	q := &s.quota
	q.mu.Lock()
	limited := q.maxMessages > 0 || q.maxOctets > 0
	q.mu.Unlock()
	if !limited {
		return
	}
	q.looks()
	if messages, octets, err := s.Size(ctx); err == nil {
		q.saw(int64(messages), octets)
	}
}
