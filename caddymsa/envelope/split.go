package envelope

import (
	"context"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// Part is what is delivered at once of a delivery whose envelope has no room.
type Part struct {
	Delivery *queue.Delivery
	Envelope Envelope
}

// Split shares the recipients out among parts, in their order, so that each envelope has room as size measures it.
func Split(d *queue.Delivery, room int, size func(v any) int) (parts []Part) {
	whole := Of(d)
	if size(whole) <= room {
		return []Part{{d, whole}}
	}
	rcpts := whole.Recipients
	whole.Recipients = nil
	whole.shorten(room/2, size)
	for first := 0; first < len(rcpts); {
		left, n := room-size(whole), 0
		for ; first+n < len(rcpts); n++ {
			r := &rcpts[first+n]
			octets := size(*r) + len(",")
			if octets > room/2 {
				*r = Recipient{Address: r.Address, Notify: r.Notify}
				whole.Shortened = true
				octets = size(*r) + len(",")
			}
			if left -= octets; left < 0 && n > 0 {
				break
			}
		}
		v := whole
		some := queue.NewDelivery(d.Entry, d.Recipients[first:first+n], d.Open)
		some.Copy = d.Copy
		v.Recipients, v.Key = rcpts[first:first+n], Key(some)
		parts = append(parts, Part{some, v})
		first += n
	}
	return parts
}

// shorten leaves out what an envelope can do without, until it has room.
func (v *Envelope) shorten(room int, size func(v any) int) {
	for _, leaveOut := range []func(){
		func() { v.Attributes = nil },
		func() { v.Helo, v.TLS, v.Session = "", "", "" },
		func() { v.EnvelopeID = "" },
		func() { v.User = "" },
	} {
		if size(*v) <= room {
			return
		}
		v.Shortened = true
		leaveOut()
	}
}

// DeliverAll has each part delivered, one after the other, and tells d what became of it. The error is of all that have no report.
func DeliverAll(ctx context.Context, d *queue.Delivery, parts []Part, deliver func(*queue.Delivery, Envelope) error) error {
	if len(parts) == 1 {
		return deliver(d, parts[0].Envelope)
	}
	for _, p := range parts {
		err := deliver(p.Delivery, p.Envelope)
		for _, r := range p.Delivery.Recipients {
			d.Answered(r, p.Delivery.AnswerOf(r))
		}
		if queue.IsUnreachable(err) || ctx.Err() != nil {
			return err
		}
		for _, r := range p.Delivery.Recipients {
			d.Report(r, err)
		}
	}
	return nil
}
