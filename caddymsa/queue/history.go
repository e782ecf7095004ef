package queue

import (
	"slices"
	"time"
)

// Event is something that happened to a job or an entry.
type Event struct {
	Time time.Time `json:"time"`
	// What: an Outcome, "bounced", "told delayed", "told delivered", "told relayed", or an operator's
	// "held", "released", "retried", "rerouted".
	What string `json:"what"`
	// Route of an attempt, who answered, and what: a reply, an error, or the operator's reason.
	Route     string `json:"route,omitempty"`
	RemoteMTA string `json:"remote_mta,omitempty"`
	Text      string `json:"text,omitempty"`
	Answer
	// Notification is its queue id.
	Notification string `json:"notification,omitempty"`
	// To are the recipients, by their places in the envelope.
	To Indexes `json:"to,omitempty"`
}

// What is kept of a long history: how it began and how it goes on.
const (
	firstEvents = 4
	lastEvents  = 16
)

// addEvent adds to a history.
func addEvent(history []Event, v Event) []Event {
	history = append(history, v)
	if len(history) > firstEvents+lastEvents {
		history = slices.Delete(history, firstEvents, len(history)-lastEvents)
	}
	return history
}

// Events are the message's history in the order of time: its own and its jobs'.
func (m *EntryView) Events() []Event {
	var all []Event
	for i := range m.Jobs {
		all = append(all, m.Jobs[i].History...)
	}
	all = append(all, m.Status.History...)
	slices.SortStableFunc(all, func(a, b Event) int { return a.Time.Compare(b.Time) })
	return all
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
