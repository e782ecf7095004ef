package queue

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
)

// Fact begins a fact about the entry, for the journal.
func (e *Entry) Fact(what journal.Kind, at time.Time) journal.Fact {
	return journal.Fact{Time: at, What: what, ID: e.ID, Server: e.Server, User: e.User, Sender: e.Sender}
}

// Waits is facts about the message's deletion without the recipients that have had their end meanwhile.
func (m *EntryView) Waits(facts []journal.Fact) []journal.Fact {
	all := m.Recipients()
	facts = slices.Clone(facts)
	for i := range facts {
		if facts[i].What != journal.Deleted {
			continue
		}
		facts[i].Recipients = slices.DeleteFunc(slices.Clone(facts[i].Recipients), func(address string) bool {
			return slices.ContainsFunc(all, func(r Recipient) bool { return r.Address == address && r.State != Pending })
		})
		facts[i].Count = len(facts[i].Recipients)
	}
	return facts
}

// AcceptedFact is what the journal has of the entry in the commit that accepts it.
func (e *Entry) AcceptedFact() journal.Fact {
	f := e.Fact(journal.Accepted, e.Accepted)
	f.Submission = e.Submission()
	for i := range e.Recipients {
		f.Recipients = append(f.Recipients, e.Recipients[i].Address)
	}
	f.Count = len(f.Recipients)
	return f
}

// Submission is how the entry came in.
func (e *Entry) Submission() *journal.Submission {
	return &journal.Submission{Size: e.Size, Body: e.Body, EnvelopeID: e.EnvelopeID, Priority: e.Priority, RemoteIP: e.RemoteIP, Helo: e.Helo,
		ClientTLS: e.TLS, Mechanism: e.Mechanism, AppPassword: e.AppPassword, Session: e.Session, Bounce: e.Bounce}
}

// keepsFacts tells whether there is a journal to write for.
func (a *attempt) keepsFacts() bool { return a.q.journal && !a.g.Settings().NoFacts }

// fact begins one of the attempt's message. It names the server that accepted it, whoever routes it now.
func (a *attempt) fact(what journal.Kind, at time.Time) journal.Fact {
	return a.lease.Entry().Fact(what, at)
}

// noteFact has the journal keep a fact in the commit of the attempt's outcome.
func (a *attempt) noteFact(f journal.Fact) { a.rec.Facts = append(a.rec.Facts, f) }

// noteOutcomes has the journal keep what the attempt came to, one fact for recipients that fared alike.
func (a *attempt) noteOutcomes(at time.Time) {
	if !a.keepsFacts() {
		return
	}
	for _, alike := range groupBy(a.Results, new(deferrals).exactly) {
		if alike[0].Outcome != OutcomeInterrupted { // that did not count
			a.noteFact(a.outcomeFact(alike, at))
		}
	}
	if a.rec.Hold != "" {
		f := a.fact(journal.Held, at)
		f.Text = a.rec.Hold
		a.noteFact(f)
	}
}

// outcomeFact is what became of recipients that fared alike.
func (a *attempt) outcomeFact(alike []Result, at time.Time) journal.Fact {
	first := alike[0]
	r, answer := first.Recipient, first.Answer
	v := &journal.Visit{Copy: a.job.Copy, Route: a.Route, Lane: a.Lane, Host: answer.Host, Address: answer.Address, TLS: answer.TLS, HopID: answer.ID,
		Code: r.Code, Status: r.Status, Duration: a.Duration}
	if _, silent := first.Err.(*notVisited); !silent && a.givenUp() == "" {
		v.Attempt = a.job.Attempts
		if slices.ContainsFunc(a.Results, func(res Result) bool { return res.Outcome == OutcomeInterrupted }) {
			v.Attempt++ // it was not counted
		}
	}
	if v.Host == "" {
		v.Host = r.RemoteMTA
	}
	f := a.fact(kindOf(first), at)
	f.Visit, f.Count, f.Text = v, len(alike), said(alike)
	if reply := answer.common(r, len(alike) > 1); reply != f.Text {
		v.Answer = reply
	}
	named := alike
	switch {
	case f.What == journal.Deferred:
		named = alike[:min(len(alike), journal.MaxRecipients)]
		if a.rec.Hold == "" {
			v.Next = a.job.Due
		}
	case f.What == journal.Failed && a.givenUp() != "":
		f.By, f.Text = a.status.GivenUpBy, a.status.GivenUp
	}
	for _, res := range named {
		f.Recipients = append(f.Recipients, res.Recipient.Address)
	}
	return f
}

// common is the reply with a mark in the place of the address, where it is the reply to several.
func (n *Answer) common(r *Recipient, several bool) string {
	reply := oneLine(n.Reply)
	if several && r.Address != "" {
		reply = strings.ReplaceAll(reply, r.Address, "*")
	}
	return reply
}

func kindOf(res Result) journal.Kind {
	switch {
	case res.Outcome == OutcomeDelivered:
		return journal.Delivered
	case res.Outcome == OutcomeDeferred:
		return journal.Deferred
	case errors.Is(res.Err, ErrExpired):
		return journal.Expired
	}
	return journal.Failed
}

// noteAbout has the journal keep that the sender was sent something about recipients, or that nobody was told, which is told of by what:
// Bounced, Told or Untold with its text.
func (a *attempt) noteAbout(what journal.Kind, about []*Recipient, id, text string, at time.Time) {
	if !a.keepsFacts() {
		return
	}
	f := a.fact(what, at)
	f.Recipients, f.Count, f.Notification, f.Text = addressesOf(about), len(about), id, text
	a.noteFact(f)
}

// acceptedFacts are those of a notification that is committed with an attempt's outcome.
func (a *attempt) acceptedFacts(e *Entry) []journal.Fact {
	if !a.keepsFacts() {
		return nil
	}
	return []journal.Fact{e.AcceptedFact()}
}
