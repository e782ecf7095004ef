package adminapi

import (
	"regexp"
	"strings"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// QueueID is the id of a message that somebody wrote down: ids are in capitals, and people are not.
func QueueID(written string) string {
	if isQueueID.MatchString(written) {
		return strings.ToUpper(written)
	}
	return written
}

var isQueueID = regexp.MustCompile(`^[0-9A-Za-z]{16}$`)

// QueuePage is a page of the queue's list.
type QueuePage struct {
	Entries []*Entry `json:"entries"`
	// Next is where the next page begins: the after of its request. Empty: this is the last.
	Next string `json:"next,omitempty"`
}

// Entry is a message in the queue: its envelope, what became of its recipients, and for what it waits.
type Entry struct {
	queue.Entry
	// State is queued, held or dead.
	State      string      `json:"state"`
	Recipients []Recipient `json:"recipients"`
	Copies     []Copy      `json:"copies,omitempty"`
	Jobs       []Job       `json:"jobs"`
	InFlight   int         `json:"in_flight,omitempty"`
	Next       time.Time   `json:"next,omitzero"` // of the job that is tried first
	Attempts   int         `json:"attempts,omitempty"`
	Rerouted   string      `json:"rerouted,omitempty"` // the server whose routes take it
	Held       string      `json:"held,omitempty"`
	GivenUp    string      `json:"given_up,omitempty"`
	Since      time.Time   `json:"since,omitzero"`
	Dead       time.Time   `json:"dead,omitzero"` // kept as a dead letter until then
	// History refers to recipients by their places, from 0 on.
	History []queue.Event `json:"history,omitempty"`
}

// Recipient is one of a message's recipients.
type Recipient struct {
	queue.Recipient
	Lane string `json:"lane,omitempty"`
}

// Copy is a copy of the message, or a part of one that goes to several places.
type Copy struct {
	Name  string      `json:"name"`
	Lane  string      `json:"lane,omitempty"`
	State queue.State `json:"state,omitempty"` // empty: it is to be delivered
	Error string      `json:"error,omitempty"`
}

// copyOf describes a job of a copy by its first recipient of whom there is something to say.
func copyOf(j *queue.Job) Copy {
	c := Copy{Name: j.Copy, Lane: j.Lane, State: queue.Delivered}
	for _, r := range j.Recipients {
		if r.State != queue.Delivered && (c.State == queue.Delivered || r.State == queue.Pending) {
			c.State, c.Error = r.State, r.Error
		}
	}
	return c
}

// Job is those of a message's recipients that go together, while there is something left to do for them.
type Job struct {
	Copy     string    `json:"copy,omitempty"` // the copy's name, if it is one's
	Lane     string    `json:"lane,omitempty"`
	Due      time.Time `json:"due"`
	Deadline time.Time `json:"deadline,omitzero"`
	Attempts int       `json:"attempts,omitempty"`
	To       string    `json:"to"` // places of the recipients, from 0 on
	InFlight bool      `json:"in_flight,omitempty"`
	Why      string    `json:"why"` // for what it waits
}

// Describe says what there is to say of a message; why tells for what a job waits.
func Describe(m *queue.EntryView, why func(*queue.Status, *queue.Job) string) *Entry {
	v := &Entry{
		Entry: *m.Entry, State: EntryState(m), InFlight: m.InFlight(), Next: m.Next(), Rerouted: m.Status.Rerouted, Held: m.Status.Held,
		GivenUp: m.Status.GivenUp, Since: m.Status.Since, Jobs: []Job{}, History: m.Events(),
	}
	if m.DeadLetter() {
		v.Dead = m.Status.Dead
	}
	for _, r := range m.Recipients() {
		v.Recipients = append(v.Recipients, Recipient{Recipient: r})
	}
	for i := range m.Jobs {
		j := &m.Jobs[i]
		if j.Copy != "" {
			v.Copies = append(v.Copies, copyOf(j))
		}
		if j.Copy == "" || m.OnlyCopies() {
			v.Attempts = max(v.Attempts, j.Attempts)
		}
		for _, r := range j.Recipients {
			if r.Index < len(v.Recipients) && j.Copy == "" {
				v.Recipients[r.Index].Lane = j.Lane
			}
		}
		if !j.Pending() {
			continue
		}
		to, _ := j.Indexes().MarshalText()
		v.Jobs = append(v.Jobs, Job{Copy: j.Copy, Lane: j.Lane, Due: j.Due, Deadline: j.Deadline, Attempts: j.Attempts, To: string(to), InFlight: j.Leased, Why: why(&m.Status, j)})
	}
	return v
}

// QueueAction is what POST /msa/queue-actions/<action> takes.
type QueueAction struct {
	// IDs of the messages, at most 1000.
	IDs []string `json:"ids"`
	// Reason is why, for the log and the message's history. The sender reads that of bounce.
	Reason string `json:"reason,omitempty"`
	// Server is whose routes take the message from now on, for reroute.
	Server string `json:"server,omitempty"`
}

// QueueActionAnswer says what was done.
type QueueActionAnswer struct {
	Done []string `json:"done"`
	// InFlight are those of the messages that were being delivered at that moment, with how many
	// attempts: their success counts, their failure follows what was done.
	InFlight map[string]int `json:"in_flight,omitempty"`
	// Failed are messages with which it could not be done, and why.
	Failed map[string]string `json:"failed,omitempty"`
}

// Lanes is what GET /msa/lanes answers.
type Lanes struct {
	Lanes []Lane `json:"lanes"`
}

// Lane is a lane of a spool. Each spool has its own of a name.
type Lane struct {
	queue.Lane
	Spool string `json:"spool,omitempty"` // that a former configuration left; "" is the one in use
}

// LaneAction is what POST /msa/lane-actions/<action> takes: pause, resume or probe.
type LaneAction struct {
	Lane   string `json:"lane"`
	Reason string `json:"reason,omitempty"`
}

// LaneSteered is its answer.
type LaneSteered struct {
	Lane string `json:"lane"`
}

// States of an entry, as filters and lists call them.
const (
	StateQueued = "queued" // waits for its time
	StateHeld   = "held"
	StateDead   = "dead"
)

// EntryState is queued, held or dead.
func EntryState(m *queue.EntryView) string {
	switch {
	case m.Status.Held != "":
		return StateHeld
	case m.DeadLetter():
		return StateDead
	}
	return StateQueued
}

// OperatorHeader names the operator in a request: a command says the user that runs it. The journal has it as what the
// client says, since nothing proves it.
const OperatorHeader = "Caddy-Msa-Operator"
