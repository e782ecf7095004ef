package running

import (
	"errors"
	"time"
)

// Message is what became of a message, as far as it is its sender's business.
type Message struct {
	ID         string      `json:"id"`
	State      State       `json:"state"`
	Accepted   time.Time   `json:"accepted"`
	Sender     string      `json:"sender"` // "" for <>
	Size       int64       `json:"size"`   // octets
	Recipients []Recipient `json:"recipients"`
}

// Recipient is what became of a message for one of its recipients.
type Recipient struct {
	Address string `json:"address"`
	State   State  `json:"state"`
	// Time is when it came to that. Zero: it has not been tried.
	Time time.Time `json:"time,omitzero"`
	// Status is the enhanced code, and Text the words, of a server that did not take it.
	Status string `json:"status,omitempty"`
	Text   string `json:"text,omitempty"`
}

// State is of a message, or of it for one recipient.
type State string

// States. A message has the first of them, in this order, that any of its recipients has.
const (
	Held      State = "held"    // kept by the operator
	Deferred  State = "delayed" // tried in vain, and will be again
	Queued    State = "queued"
	Failed    State = "failed" // for good
	TakenBack State = "deleted"
	Delivered State = "delivered"
)

// Errors of Own.
var (
	ErrNoMessage = errors.New("no such message of the user's")
	ErrTooLate   = errors.New("nothing of the message is left to take back")
)
