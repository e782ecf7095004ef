package queue

import (
	"slices"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/dsn"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
)

// Status is what changes of an entry as a whole.
type Status struct {
	// Server whose routes take it, if that is not the one that accepted it.
	Rerouted string `json:"rerouted,omitempty"`
	Held     string `json:"held,omitempty"` // why it is held; "" when it is not
	// Moving is the spool that it is being taken out of (Move). Until that has ended it is held in both
	// spools; HeldBefore is what Held said before.
	Moving     string `json:"moving,omitempty"`
	HeldBefore string `json:"held_before,omitempty"`
	// GivenUp is what the operator has the sender told: nothing is tried any more, from GivenUpAt on.
	GivenUp   string    `json:"given_up,omitempty"`
	GivenUpBy string    `json:"given_up_by,omitempty"` // the operator
	GivenUpAt time.Time `json:"given_up_at,omitzero"`
	// Asked is when the operator last wanted it tried at once: an attempt that was under way then
	// and fails is followed by another.
	Asked time.Time `json:"asked,omitzero"`
	Since time.Time `json:"since,omitzero"` // from when its age counts, if not from Accepted
	// Dead is until when it is kept as a dead letter once its last job has ended. Zero: not at all.
	Dead time.Time `json:"dead,omitzero"`
	// Notes are what the sender is to be told, at NotesDue at the latest.
	Notes    []Note    `json:"notes,omitempty"`
	NotesDue time.Time `json:"notes_due,omitzero"`
	NotesSeq int       `json:"notes_seq,omitempty"` // of the last that there was
	History  []Event   `json:"history,omitempty"`   // what happened to it as a whole
}

// IsZero tells whether nothing was ever said of the entry as a whole.
func (s *Status) IsZero() bool {
	return s.Rerouted == "" && s.Held == "" && s.GivenUp == "" && s.Since.IsZero() && s.Asked.IsZero() && s.Dead.IsZero() && s.NotesSeq == 0 && len(s.History) == 0
}

// Note is something that the sender is to be told.
type Note struct {
	Seq    int        `json:"seq"`
	Time   time.Time  `json:"time"` // of the last attempt; zero: there was none
	Action dsn.Action `json:"action"`
	To     Indexes    `json:"to"`
	Fate
	Until time.Time `json:"until,omitzero"` // delayed: how long it is tried
}

// Clone copies what a caller may go on to change.
func (s *Status) Clone() *Status {
	c := *s
	c.Notes, c.History = slices.Clone(s.Notes), slices.Clone(s.History)
	return &c
}

// Special is the job that follows from the status of an entry with so many open jobs, so many of them copies, if
// there is one.
func (s *Status) Special(open, copies int) (job Job, ok bool) {
	switch {
	case s.Held != "":
		return Job{}, false
	case len(s.Notes) > 0:
		job = Job{Kind: Notify, Due: s.NotesDue}
		if open == copies {
			job.Due = time.Time{}
		}
		return job, true
	case open == 0 && !s.Dead.IsZero():
		return Job{Kind: Bury, Due: s.Dead}, true
	}
	return Job{}, false
}

// Ended tells whether nothing is left of an entry with so many open jobs.
func (s *Status) Ended(open int) bool {
	return open == 0 && len(s.Notes) == 0 && s.Dead.IsZero() && s.Held == ""
}

// Apply makes the record of a leased job part of the status, and returns the record's jobs as they
// are to be stored. leased was the status when the job was leased; next is the number of the next
// job that is new, and others is how many jobs are open beside the record's. It is the one place where an
// outcome meets what the operator did meanwhile.
func (s *Status) Apply(r *Record, leased *Status, next, others int) []Job {
	jobs := make([]Job, 0, len(r.Jobs))
	for i := range r.Jobs {
		j := *r.Jobs[i].Clone()
		if j.Number == 0 {
			j.Number = next
			next++
		}
		if j.Pending() {
			if s.GivenUp != "" && j.Copy == "" {
				j.Deadline = s.GivenUpAt
			}
			if !s.Asked.Equal(leased.Asked) {
				j.Due = r.At
			}
			if s.Rerouted != leased.Rerouted && j.Copy == "" {
				j.Lane, j.Stamp, j.Due = "", "", r.At
			}
		}
		jobs = append(jobs, j)
		s.noDelay(&j)
	}
	s.Notes = slices.DeleteFunc(s.Notes, func(n Note) bool { return n.Seq <= r.Told })
	for _, n := range r.Notes {
		s.NotesSeq++
		n.Seq = s.NotesSeq
		s.Notes = append(s.Notes, n)
	}
	switch {
	case len(s.Notes) == 0:
		s.NotesDue = time.Time{}
	case s.NotesDue.IsZero() || r.Told > 0:
		s.NotesDue = r.NotesDue
		if s.NotesDue.IsZero() {
			s.NotesDue = r.At
		}
	}
	if r.Keep.After(s.Dead) {
		s.Dead = r.Keep
	}
	if !r.Since.IsZero() {
		s.Since = r.Since
	}
	switch {
	case r.Hold == "":
	case s.Moving != "":
		s.HeldBefore = r.Hold
	default:
		s.Held = r.Hold
	}
	if r.Hold == "" && s.Moving == "" && len(s.Notes) == 0 && others == 0 && !slices.ContainsFunc(jobs, func(j Job) bool { return j.Pending() }) {
		s.Held = "" // nothing is left to hold back
	}
	for _, v := range r.Events {
		s.History = addEvent(s.History, v)
	}
	return jobs
}

// noDelay takes those of a job to whom it was delivered out of what the sender is still to be told of delays.
func (s *Status) noDelay(j *Job) {
	if j.Copy != "" || len(s.Notes) == 0 {
		return
	}
	arrived := make(map[int]bool, len(j.Recipients))
	for i := range j.Recipients {
		arrived[j.Recipients[i].Index] = j.Recipients[i].State == Delivered
	}
	notes := s.Notes[:0:0]
	for _, n := range s.Notes {
		if n.Action == dsn.Delayed {
			n.To = slices.DeleteFunc(slices.Clone(n.To), func(i int) bool { return arrived[i] }) // Status.Clone shares it
		}
		if len(n.To) > 0 {
			notes = append(notes, n)
		}
	}
	s.Notes = notes
}

// Note adds an operator's doing to the history.
func (s *Status) Note(at time.Time, what, text string) {
	s.History = addEvent(s.History, Event{Time: at, What: what, Text: oneLine(text)})
}

// EntryView is what an operator sees of an entry.
type EntryView struct {
	Entry  *Entry
	Status Status
	Jobs   []Job // all of them, those that have ended too
	// StatusLeased: somebody has the job that follows from the status (Notify, Bury).
	StatusLeased bool
	// Facts are what a change of Operator.Change has the journal keep of it.
	Facts []journal.Fact
}

// Open is how many jobs have a recipient to deliver to, copies included.
func (m *EntryView) Open() (n int) {
	for i := range m.Jobs {
		if m.Jobs[i].Pending() {
			n++
		}
	}
	return n
}

// OnlyCopies tells whether copies are all that is left to deliver.
func (m *EntryView) OnlyCopies() bool {
	copies := 0
	for i := range m.Jobs {
		if m.Jobs[i].Pending() && m.Jobs[i].Copy != "" {
			copies++
		}
	}
	return copies > 0 && copies == m.Open()
}

// InFlight is how many jobs are leased.
func (m *EntryView) InFlight() (n int) {
	for i := range m.Jobs {
		if m.Jobs[i].Leased {
			n++
		}
	}
	return n
}

// Server is whose routes take the message.
func (m *EntryView) Server() string {
	if m.Status.Rerouted != "" {
		return m.Status.Rerouted
	}
	return m.Entry.Server
}

// DeadLetter tells whether nothing is tried any more and it is kept for the operator.
func (m *EntryView) DeadLetter() bool { return !m.Status.Dead.IsZero() && m.Open() == 0 }

// Recipients are the entry's with what has become of them, whatever became of copies.
func (m *EntryView) Recipients() []Recipient {
	all := slices.Clone(m.Entry.Recipients)
	for i := range m.Jobs {
		if m.Jobs[i].Copy != "" {
			continue
		}
		for _, r := range m.Jobs[i].Recipients {
			all[r.Index] = r
		}
	}
	return all
}

// Next is when the next job that waits is due, one of a copy only where no other is left; zero when none does.
func (m *EntryView) Next() (next time.Time) {
	copies := m.OnlyCopies()
	for i := range m.Jobs {
		if j := &m.Jobs[i]; j.Pending() && !j.Leased && (j.Copy == "" || copies) && (next.IsZero() || j.Due.Before(next)) {
			next = j.Due
		}
	}
	return next
}

// Buries tells whether the entry, with so many open jobs, is still a dead letter to be forgotten.
func (s *Status) Buries(open int) bool {
	j, ok := s.Special(open, 0)
	return ok && j.Kind == Bury
}
