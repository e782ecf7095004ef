package app

import (
	"context"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// readdressed is a sink whose deliveries have another recipient than the message's, or another sender.
type readdressed struct {
	sink queue.Sink
	to   string  // empty: the message's
	from *string // nil: the message's
	utf8 bool    // either needs SMTPUTF8
}

// envelope is the one that the sink gets.
func (s *readdressed) envelope(e *queue.Entry) *queue.Entry {
	c := *e
	if s.from != nil {
		c.Sender = *s.from
	}
	c.SMTPUTF8 = c.SMTPUTF8 || s.utf8
	return &c
}

// Deliver implements queue.Sink. What the sink says of the one recipient is said of all of the message's.
func (s *readdressed) Deliver(ctx context.Context, d *queue.Delivery) error {
	rcpts, only := d.Recipients, (*queue.Recipient)(nil)
	if s.to != "" {
		only = &queue.Recipient{Address: s.to, Notify: []string{"NEVER"}}
		rcpts = []*queue.Recipient{only}
	}
	inner := queue.NewDelivery(s.envelope(d.Entry), rcpts, d.Open)
	inner.Attempt, inner.Copy, inner.Hostname = d.Attempt, d.Copy, d.Hostname
	inner.OnFinal(d.Final)
	err := s.sink.Deliver(ctx, inner)
	for _, r := range d.Recipients {
		about := r
		if only != nil {
			about, r.RemoteMTA = only, only.RemoteMTA
		}
		if reported, said := inner.Reported(about); reported {
			d.Report(r, said)
		}
		d.Answered(r, inner.AnswerOf(about))
	}
	return err
}

// Destination implements queue.Destinations.
func (s *readdressed) Destination(e *queue.Entry, r *queue.Recipient) queue.Destination {
	sink, ok := s.sink.(queue.Destinations)
	if !ok {
		return queue.Destination{}
	}
	if s.to != "" {
		r = &queue.Recipient{Address: s.to}
	}
	return sink.Destination(s.envelope(e), r)
}
