package app

import (
	"cmp"
	"errors"
	"slices"

	"github.com/caddy-msa/caddy-msa/caddymsa/dsn"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// observer turns what the queue does into metrics and Caddy events.
type observer struct{ store *store }

// laneKind is what goes through a lane, for metrics.
func laneKind(a *queue.Attempt) string {
	switch {
	case a.Copy != "":
		return "copy"
	case a.Entry.Bounce:
		return "bounce"
	}
	return "route"
}

// Attempted implements queue.Observer.
func (o observer) Attempted(a *queue.Attempt) { o.attempted(a, laneKind(a)) }

func (o observer) attempted(a *queue.Attempt, kind string) {
	tallyAttempt(a)
	o.traceAttempt(a, kind)
	route := cmp.Or(a.Route, a.Copy, "none")
	metrics.attemptSeconds.WithLabelValues(route).Observe(a.Duration.Seconds())
	for _, r := range a.Results {
		metrics.attempts.WithLabelValues(route, kind, string(r.Outcome)).Inc()
		switch {
		case r.Outcome == queue.OutcomeDelivered:
			metrics.deliverySeconds.WithLabelValues(route, kind).Observe(age(a.Entry.Accepted))
		case errors.Is(r.Err, queue.ErrExpired):
			metrics.expired.WithLabelValues(route, kind).Inc()
		}
	}
	if a.Copy != "" && slices.ContainsFunc(a.Results, func(r queue.Result) bool { return r.Outcome == queue.OutcomeFailed }) {
		metrics.copiesFailed.WithLabelValues(a.Copy).Inc()
	}
	o.outcomes(a)
}

// GaveUp implements queue.Observer.
func (o observer) GaveUp(e *queue.Entry, failed []*queue.Recipient, bounce, reason string) {
	data := func() map[string]any {
		return about(e, addresses(failed), map[string]any{"bounce": bounce, "reason": reason})
	}
	o.emit(eventFailed, data)
	if bounce == "" {
		metrics.untold.WithLabelValues(e.Server).Add(float64(len(failed)))
	} else {
		metrics.notifications.WithLabelValues(e.Server, string(dsn.Failed)).Inc()
		o.emit(eventBounced, data)
	}
}

// Told implements queue.Observer.
func (o observer) Told(e *queue.Entry, action dsn.Action, rcpts []*queue.Recipient, id string) {
	metrics.notifications.WithLabelValues(e.Server, string(action)).Inc()
	o.emit(eventTold, func() map[string]any {
		return about(e, addresses(rcpts), map[string]any{"bounce": id, "action": string(action)})
	})
}

// Held implements queue.Observer: somebody has to look at it.
func (o observer) Held(e *queue.Entry, reason string) {
	o.emit(eventHeld, func() map[string]any { return heldEvent(e, reason, "") })
}

// heldEvent is of a message that was put on hold by a policy, the queue or an operator.
func heldEvent(e *queue.Entry, reason, by string) map[string]any {
	return about(e, addressesOf(e), map[string]any{"reason": reason, "by": by})
}

// outcomes emits what became of an attempt, an event for each outcome.
func (o observer) outcomes(a *queue.Attempt) {
	names, eventOf := []string{eventDelivered, eventDeferred, eventExpired}, outcomeEvent
	if a.Copy != "" {
		names, eventOf = []string{eventCopied, eventCopyDeferred, eventCopyFailed}, copyEvent
	}
	for _, name := range names {
		var rcpts []string
		cause, said := "", queue.Answer{}
		for _, r := range a.Results {
			if eventOf(r) != name {
				continue
			}
			said = r.Answer
			rcpts = append(rcpts, r.Recipient.Address)
			if r.Err != nil {
				cause = r.Err.Error()
			}
		}
		if rcpts == nil {
			continue
		}
		o.emit(name, func() map[string]any {
			return about(a.Entry, rcpts, attemptData(a, cause, said))
		})
	}
}

// attemptData is what an event says of an attempt. A handler may give it to a terminal or a command: what a next hop says is
// one line without control characters there, too.
func attemptData(a *queue.Attempt, cause string, said queue.Answer) map[string]any {
	data := map[string]any{"route": a.Route, "lane": a.Lane, "error": queue.OneLine(cause),
		"reply": queue.OneLine(said.Reply), "next_hop_id": said.ID, "host": said.Host, "address": said.Address, "tls": said.TLS}
	if a.Copy != "" {
		data["copy"] = a.Copy
	}
	return data
}

func outcomeEvent(r queue.Result) string {
	switch {
	case r.Outcome == queue.OutcomeDelivered:
		return eventDelivered
	case r.Outcome == queue.OutcomeDeferred:
		return eventDeferred
	case errors.Is(r.Err, queue.ErrExpired):
		return eventExpired
	}
	return "" // GaveUp tells
}

func copyEvent(r queue.Result) string {
	switch r.Outcome {
	case queue.OutcomeDelivered:
		return eventCopied
	case queue.OutcomeFailed:
		return eventCopyFailed
	}
	return eventCopyDeferred
}

// about is what every event says of its message.
func about(e *queue.Entry, rcpts []string, data map[string]any) map[string]any {
	data["queue_id"], data["server"], data["sender"], data["recipients"] = e.ID, e.Server, e.Sender, rcpts
	return data
}

func addresses(rcpts []*queue.Recipient) []string {
	all := make([]string, len(rcpts))
	for i, r := range rcpts {
		all[i] = r.Address
	}
	return all
}

// emit hands an event to the configuration in charge.
func (o observer) emit(name string, data func() map[string]any) {
	if d := o.store.generations.top(); d != nil {
		d.app.events.emit(name, data)
	}
}
