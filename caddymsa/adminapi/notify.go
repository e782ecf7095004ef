package adminapi

import "time"

// Notifiers is what GET /msa/notify answers.
type Notifiers struct {
	Notifiers []Notifier `json:"notifiers"`
}

// Notifier is how far somebody was told what became of messages.
type Notifier struct {
	Server string `json:"server"`
	Name   string `json:"name"`
	Spool  string `json:"spool"` // whose journal it is
	// Active: this node tells; of several nodes one does.
	Active bool `json:"active"`
	// Waiting is how many events are still to be told, as far as the journal was read; Oldest is when the first of them happened.
	Waiting int        `json:"waiting"`
	Oldest  *time.Time `json:"oldest,omitempty"`
	// Aside is how many messages, or users, have events that are refused while others are told.
	Aside int `json:"aside"`
	// Down: it takes nothing, and is tried again at Next.
	Down  bool       `json:"down"`
	Next  *time.Time `json:"next,omitempty"`
	Error string     `json:"error,omitempty"` // the last failure, until something was told
}
