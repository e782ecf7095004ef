package app

import (
	"context"
	"errors"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// What the sink says of the one recipient is said of all; what it says of nobody stays unsaid, so that the lane is judged
// as without. The message's own envelope is left alone.
func TestReaddressed(t *testing.T) {
	refused, broken := errors.New("refused"), errors.New("broken")
	for _, tt := range []struct {
		name             string
		to               string
		reports, returns error
		says             bool
	}{
		{"reported", "archive@example.com", refused, nil, true}, {"delivered", "archive@example.com", nil, nil, true}, {"unreported", "archive@example.com", nil, broken, false},
		{"own recipients", "", refused, nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got *queue.Delivery
			s := &readdressed{to: tt.to, from: new(string), utf8: true, sink: sinkFunc(func(_ context.Context, d *queue.Delivery) error {
				got = d
				for _, r := range d.Recipients {
					if tt.says {
						d.Report(r, tt.reports)
					}
					d.Answered(r, queue.Answer{Reply: "250 Ok"})
				}
				return tt.returns
			})}
			e := &queue.Entry{ID: "Q1", Sender: "alice@example.org"}
			rcpts := []*queue.Recipient{{Address: "bob@example.net", Notify: []string{"SUCCESS"}}, {Address: "carol@example.net"}}
			d := queue.NewDelivery(e, rcpts, nil)
			d.Attempt, d.Copy, d.Hostname = 3, "journal", "msa.example.org"
			if err := s.Deliver(t.Context(), d); err != tt.returns {
				t.Error(err)
			}
			if got.Entry.Sender != "" || !got.Entry.SMTPUTF8 || e.Sender != "alice@example.org" || e.SMTPUTF8 || got.Attempt != 3 || got.Copy != "journal" || got.Hostname != "msa.example.org" {
				t.Errorf("%+v of %+v", got, got.Entry)
			}
			if tt.to != "" && (len(got.Recipients) != 1 || got.Recipients[0].Address != tt.to) || tt.to == "" && len(got.Recipients) != 2 {
				t.Errorf("%+v", got.Recipients)
			}
			for _, r := range rcpts {
				if said, err := d.Reported(r); said != tt.says || err != tt.reports || d.AnswerOf(r).Reply != "250 Ok" {
					t.Errorf("%s: %v, %v, %+v", r.Address, said, err, d.AnswerOf(r))
				}
			}
		})
	}
}
