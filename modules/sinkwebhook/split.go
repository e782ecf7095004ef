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

// split shares the recipients out among requests, in their order, so that each envelope fits into a header.
func (s *Webhook) split(d *queue.Delivery) []envelope.Part {
	names := len("Idempotency-Key: \r\nMSA-Envelope: \r\n") + len(envelope.Key(d))
	room := max(leastEnvelope, maxHeader-s.client.HeaderSize()-names)
	return envelope.Split(d, room, func(v any) int { return len(ascii(v)) })
}

// ascii is a value as JSON, with escapes for what JSON leaves as it is and a header may not have.
func ascii(v any) string {
	text, err := json.Marshal(v)
	if err != nil { // strings, numbers and times of this era
		panic(err)
	}
	return escape(text)
}
