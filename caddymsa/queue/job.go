package queue

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Kind is what there is to do about a job.
type Kind string

// Kinds of jobs. Those that do not deliver have number 0 and no record of their own: they follow
// from the entry's Status.
const (
	Deliver Kind = ""       // take it to its recipients
	Notify  Kind = "notify" // tell the sender what the entry's notes say
	Bury    Kind = "bury"   // a dead letter was kept for long enough
)

// Job is what is leased: those of an entry's recipients that go together in one lane.
type Job struct {
	Number int  `json:"number"` // within the entry, from 1 on
	Kind   Kind `json:"kind,omitempty"`
	// Copy names what the job is one of: a copy of the message for somebody beside its recipients. All of them are in
	// it, with what became of the copy there; of themselves that says nothing. Empty: it is theirs.
	Copy string `json:"copy,omitempty"`
	// Lane is where the recipients' copies go next. Empty: unrouted; that is found out when it is leased.
	Lane string `json:"lane,omitempty"`
	// Stamp is of the configuration that said so.
	Stamp string `json:"stamp,omitempty"`

	Due time.Time `json:"due"`
	// Deadline is when it is leased whatever its lane says: to warn the sender, to give up. Zero: never.
	Deadline time.Time `json:"deadline,omitzero"`
	Attempts int       `json:"attempts,omitempty"` // made so far
	Tried    time.Time `json:"tried,omitzero"`     // the last of them
	Warned   bool      `json:"warned,omitempty"`   // the sender was told of the delay
	Last     bool      `json:"last,omitempty"`     // the attempt that it waits for is the last one

	Recipients []Recipient `json:"-"`
	History    []Event     `json:"history,omitempty"`

	// Leased: somebody has it at this moment. Only in what an Operator gives.
	Leased bool `json:"leased,omitempty"`
}

// Pending tells whether there is still a recipient to deliver to.
func (j *Job) Pending() bool {
	return slices.ContainsFunc(j.Recipients, func(r Recipient) bool { return r.State == Pending })
}

// Indexes are the places of the job's recipients.
func (j *Job) Indexes() Indexes {
	x := make(Indexes, len(j.Recipients))
	for i := range j.Recipients {
		x[i] = j.Recipients[i].Index
	}
	slices.Sort(x)
	return x
}

// SetRecipients gives the job recipients of the entry that have not been tried yet.
func (j *Job) SetRecipients(e *Entry, x Indexes) error {
	j.Recipients = make([]Recipient, 0, len(x))
	for _, i := range x {
		if i >= len(e.Recipients) {
			return fmt.Errorf("%w: entry %s has no recipient %d", errIndexes, e.ID, i)
		}
		r := e.Recipients[i]
		r.Index = i
		j.Recipients = append(j.Recipients, r)
	}
	return nil
}

// NewJob returns an unrouted job of all recipients, due at once.
func NewJob(e *Entry) Job {
	j := Job{Number: 1, Due: e.Accepted, Recipients: slices.Clone(e.Recipients)}
	for i := range j.Recipients {
		j.Recipients[i].Index = i
	}
	return j
}

// alike are recipients of a job that fared alike, as they are stored.
type alike struct {
	To Indexes `json:"to"`
	Fate
}

type plainJob Job

// storedJob is a job as it is stored: without what the envelope says.
type storedJob struct {
	*plainJob
	To []alike `json:"to"`
}

// MarshalJSON writes the recipients by their places, those that fared alike together.
func (j *Job) MarshalJSON() ([]byte, error) {
	s := storedJob{plainJob: (*plainJob)(j)}
	groups := make(map[Fate]int)
	for i := range j.Recipients {
		r := &j.Recipients[i]
		fate := r.common()
		g, ok := groups[fate]
		if !ok {
			g = len(s.To)
			groups[fate] = g
			s.To = append(s.To, alike{Fate: fate})
		}
		s.To[g].To = append(s.To[g].To, r.Index)
	}
	for _, g := range s.To {
		slices.Sort(g.To)
	}
	return json.Marshal(s)
}

// DecodeJob reads what MarshalJSON wrote of a job of the entry.
func DecodeJob(b []byte, e *Entry) (*Job, error) {
	j := new(Job)
	s := storedJob{plainJob: (*plainJob)(j)}
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, err
	}
	j.Leased = false
	for _, g := range s.To {
		var part Job
		if err := part.SetRecipients(e, g.To); err != nil {
			return nil, err
		}
		for i := range part.Recipients {
			part.Recipients[i].Fate = g.Fate.of(&part.Recipients[i])
		}
		j.Recipients = append(j.Recipients, part.Recipients...)
	}
	slices.SortFunc(j.Recipients, func(a, b Recipient) int { return a.Index - b.Index })
	return j, nil
}

// Clone copies what a caller may go on to change.
func (j *Job) Clone() *Job {
	c := *j
	c.Recipients, c.History = slices.Clone(j.Recipients), slices.Clone(j.History)
	return &c
}
