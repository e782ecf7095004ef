package caddymsa

import (
	"github.com/caddy-msa/caddy-msa/caddymsa/dsn"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// observer turns what the queue does into metrics and Caddy events.
type observer struct{ store *store }

// Attempted implements queue.Observer.
func (o observer) Attempted(a *queue.Attempt) {
	route := a.Route
	if route == "" {
		route = "none"
	}
	metrics.attemptSeconds.WithLabelValues(route).Observe(a.Duration.Seconds())
	for _, r := range a.Results {
		metrics.attempts.WithLabelValues(route, string(r.Outcome)).Inc()
	}
}

// GaveUp implements queue.Observer. The event is message_failed.
func (o observer) GaveUp(e *queue.Entry, failed []*queue.Recipient, bounce, reason string) {
	rcpts := make([]string, len(failed))
	for i, r := range failed {
		rcpts[i] = r.Address
	}
	o.emit("message_failed", map[string]any{
		"queue_id": e.ID, "server": e.Server, "recipients": rcpts, "bounce": bounce, "reason": reason,
	})
}

// Told implements queue.Observer.
func (o observer) Told(*queue.Entry, dsn.Action, []*queue.Recipient, string) {}

// Held implements queue.Observer. The event is message_held: somebody has to look at it.
func (o observer) Held(e *queue.Entry) {
	o.emit("message_held", map[string]any{"queue_id": e.ID, "server": e.Server, "reason": e.Held})
}

// emit hands an event to the configuration in charge.
func (o observer) emit(name string, data map[string]any) {
	if d := o.store.generations.top(); d != nil {
		d.app.events.Emit(d.app.ctx, name, data)
	}
}
