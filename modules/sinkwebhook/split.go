package sinkwebhook

import (
	"encoding/json"

	"github.com/caddy-msa/caddy-msa/caddymsa/envelope"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// maxHeader is what all headers of a request have together at most. Servers take 8 KiB a line or in all, some 4.
const maxHeader = 4 << 10

// leastEnvelope is what the envelope has, whatever the configured headers leave.
const leastEnvelope = 1 << 10

// part is what one request delivers.
type part struct {
	delivery *queue.Delivery
	envelope envelope.Envelope
}

// split shares the recipients out among requests, in their order, so that each envelope fits into a header.
func (s *Webhook) split(d *queue.Delivery) (parts []part) {
	whole := envelope.Of(d)
	rcpts := whole.Recipients
	names := len("Idempotency-Key: \r\nMSA-Envelope: \r\n") + len(whole.Key)
	room := max(leastEnvelope, maxHeader-s.client.HeaderSize()-names)
	whole.Recipients = nil
	shorten(&whole, room/2)
	for first := 0; first < len(rcpts); {
		left, n := room-len(ascii(whole)), 0
		for ; first+n < len(rcpts); n++ {
			r := &rcpts[first+n]
			size := len(ascii(*r)) + len(",")
			if size > room/2 {
				*r = envelope.Recipient{Address: r.Address, Notify: r.Notify}
				whole.Shortened = true
				size = len(ascii(*r)) + len(",")
			}
			if left -= size; left < 0 && n > 0 {
				break
			}
		}
		v := whole
		some := queue.NewDelivery(d.Entry, d.Recipients[first:first+n], d.Open)
		some.Copy = d.Copy
		v.Recipients, v.Key = rcpts[first:first+n], envelope.Key(some)
		parts = append(parts, part{some, v})
		first += n
	}
	return parts
}

// shorten leaves out what an envelope can do without, until it has room.
func shorten(v *envelope.Envelope, room int) {
	for _, leaveOut := range []func(){
		func() { v.Attributes = nil },
		func() { v.Helo, v.TLS, v.Session = "", "", "" },
		func() { v.EnvelopeID = "" },
		func() { v.User = "" },
	} {
		if len(ascii(*v)) <= room {
			return
		}
		v.Shortened = true
		leaveOut()
	}
}

// ascii is a value as JSON, with escapes for what JSON leaves as it is and a header may not have.
func ascii(v any) string {
	text, err := json.Marshal(v)
	if err != nil { // strings, numbers and times of this era
		panic(err)
	}
	return escape(text)
}
