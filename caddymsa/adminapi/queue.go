package adminapi

import "github.com/caddy-msa/caddy-msa/caddymsa/queue"

// QueuePage is a page of the queue's list.
type QueuePage struct {
	Entries []*queue.Entry `json:"entries"`
	// Next is where the next page begins: the after of its request. Empty: this is the last.
	Next string `json:"next,omitempty"`
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
	// Failed are messages with which it could not be done, and why.
	Failed map[string]string `json:"failed,omitempty"`
}

// States of an entry, as filters and lists call them.
const (
	StateQueued = "queued" // waits for its time
	StateHeld   = "held"
	StateDead   = "dead"
)

// EntryState is queued, held or dead.
func EntryState(e *queue.Entry) string {
	switch {
	case e.Held != "":
		return StateHeld
	case !e.Dead.IsZero():
		return StateDead
	}
	return StateQueued
}
