package queue

import (
	"slices"
	"time"
)

// Event is something that happened to an entry.
type Event struct {
	Time time.Time `json:"time"`
	// What: an Outcome, "bounced", "told delayed", "told delivered", "told relayed", or an operator's
	// "held", "released", "retried", "rerouted".
	What string `json:"what"`
	// Route of an attempt, who answered, and what: a reply, an error, or the operator's reason.
	Route     string `json:"route,omitempty"`
	RemoteMTA string `json:"remote_mta,omitempty"`
	Text      string `json:"text,omitempty"`
	// ID of a notification.
	ID         string   `json:"id,omitempty"`
	Recipients []string `json:"recipients,omitempty"`
}

// What is kept of a long history: how it began and how it goes on.
const (
	firstEvents = 10
	lastEvents  = 30
)

// note adds to the entry's history.
func (e *Entry) note(v Event) {
	e.History = append(e.History, v)
	if len(e.History) > firstEvents+lastEvents {
		e.History = slices.Delete(e.History, firstEvents, len(e.History)-lastEvents)
	}
}

// Note adds an operator's doing to the entry's history.
func (e *Entry) Note(at time.Time, what, text string) {
	e.note(Event{Time: at, What: what, Text: oneLine(text)})
}

// remember adds the attempt to the entry's history, one event for recipients that fared alike.
func (a *attempt) remember(at time.Time) {
	for _, p := range a.parts {
		eachAlike(p.Results, func(alike []Result) {
			first := alike[0]
			if first.Outcome == OutcomePostponed || first.Outcome == OutcomeInterrupted {
				return
			}
			v := Event{Time: at, What: string(first.Outcome), Route: p.name, RemoteMTA: first.Recipient.RemoteMTA, Text: first.Recipient.Error}
			for _, res := range alike {
				v.Recipients = append(v.Recipients, res.Recipient.Address)
			}
			a.e.note(v)
		})
	}
}

// eachAlike calls f for each group of results that fared alike.
func eachAlike(results []Result, f func([]Result)) {
	if len(results) > 1 {
		results = slices.Clone(results)
	}
	for len(results) > 0 {
		first, n := &results[0], 1
		for i := 1; i < len(results); i++ {
			if first.like(&results[i]) {
				results[n], results[i] = results[i], results[n]
				n++
			}
		}
		f(results[:n])
		results = results[n:]
	}
}
