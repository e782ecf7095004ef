package queue

import (
	"errors"
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
	// Copy is the copy's name, if it happened to one.
	Copy string `json:"copy,omitempty"`
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

// alikeBy is by what recipients fared alike.
type alikeBy struct {
	outcome          Outcome
	expired          bool
	cause, remoteMTA string
	answer           Answer
}

// deferrals counts in how many ways recipients were deferred.
type deferrals struct{ known map[alikeBy]bool }

// roughly tells recipients apart by what went wrong.
func (d *deferrals) roughly(res Result) alikeBy {
	k := alikeBy{outcome: res.Outcome}
	switch res.Outcome {
	case OutcomeFailed, OutcomeDeferred:
		k.cause, k.remoteMTA = res.Recipient.common().Error, res.Recipient.RemoteMTA
	}
	if res.Outcome != OutcomeDeferred || d.known[k] {
		return k
	}
	if len(d.known) >= maxKinds-1 {
		return alikeBy{outcome: res.Outcome}
	}
	if d.known == nil {
		d.known = make(map[alikeBy]bool)
	}
	d.known[k] = true
	return k
}

// exactly tells those whose end it was apart by the next hop's answer too.
func (d *deferrals) exactly(res Result) alikeBy {
	k := d.roughly(res)
	if res.Outcome == OutcomeDelivered || res.Outcome == OutcomeFailed {
		k.answer, k.expired = res.Answer, errors.Is(res.Err, ErrExpired)
		if res.Recipient.Address != "" {
			k.answer.Reply = strings.ReplaceAll(k.answer.Reply, res.Recipient.Address, ownAddress)
		}
	}
	return k
}

// groupBy puts results together of which by says the same, in the order in which they come first.
func groupBy(results []Result, by func(Result) alikeBy) (all [][]Result) {
	if len(results) == 1 {
		return [][]Result{results}
	}
	groups := make(map[alikeBy]int)
	for _, res := range results {
		k := by(res)
		g, known := groups[k]
		if !known {
			g = len(all)
			groups[k] = g
			all = append(all, nil)
		}
		all[g] = append(all[g], res)
	}
	return all
}

// eachAlike calls f for each group of results that fared alike.
func eachAlike(results []Result, f func([]Result)) {
	for _, alike := range groupBy(results, new(deferrals).roughly) {
		f(alike)
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
