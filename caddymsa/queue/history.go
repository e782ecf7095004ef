package queue

import (
	"slices"
	"strings"
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

// maxKinds is in how many ways recipients are told of that were deferred, which happens again and again: those of
// the rest are one.
const maxKinds = 10

// eachAlike calls f for each group of results that fared alike.
func eachAlike(results []Result, f func([]Result)) {
	type kind struct {
		outcome          Outcome
		cause, remoteMTA string
	}
	if len(results) == 1 {
		f(results)
		return
	}
	groups := make(map[kind]int)
	var all [][]Result
	deferred := 0
	for _, res := range results {
		k := kind{outcome: res.Outcome}
		if res.Outcome == OutcomeDeferred || res.Outcome == OutcomeFailed {
			k.cause, k.remoteMTA = res.Recipient.common().Error, res.Recipient.RemoteMTA
		}
		if _, known := groups[k]; !known && res.Outcome == OutcomeDeferred {
			if deferred++; deferred >= maxKinds {
				k.cause, k.remoteMTA = "", ""
			}
		}
		g, known := groups[k]
		if !known {
			g = len(all)
			groups[k] = g
			all = append(all, nil)
		}
		all[g] = append(all[g], res)
	}
	for _, group := range all {
		f(group)
	}
}

// said is what the first of recipients that fared alike was told, for all of them.
func said(alike []Result) string {
	r := alike[0].Recipient
	if len(alike) == 1 {
		return r.Error
	}
	return strings.ReplaceAll(r.common().Error, ownAddress, "*")
}
