package queue

import (
	"strings"
	"time"
)

// Entry is a queued message's envelope with all that matchers can ask. It is written once, as
// JSON: fields are only ever added.
type Entry struct {
	ID       string    `json:"id"`       // the queue id that the client was told
	Server   string    `json:"server"`   // hostname of the server that accepted it
	Accepted time.Time `json:"accepted"` // when
	Size     int64     `json:"size"`     // octets of header and body together

	Sender     string `json:"sender"`             // exact reverse path, without brackets; "" for <>
	ReturnPath bool   `json:"return_path"`        // Sender passed sender_identity: bounces may go there (docs/dev/architecture.md)
	Bounce     bool   `json:"bounce,omitempty"`   // a delivery status notification of ours: never bounced, uses the bounces route
	Body       string `json:"body,omitempty"`     // "7BIT", "8BITMIME" or ""
	SMTPUTF8   bool   `json:"smtputf8,omitempty"` // RFC 6531
	Return     string `json:"ret,omitempty"`      // RET: "FULL", "HDRS" or ""
	EnvelopeID string `json:"envid,omitempty"`    // ENVID, decoded
	Priority   int    `json:"priority,omitempty"` // MT-PRIORITY
	Auth       string `json:"auth,omitempty"`     // AUTH= on MAIL, kept for the log only

	User       string            `json:"user,omitempty"`
	Attributes map[string]string `json:"attributes,omitempty"`
	RemoteIP   string            `json:"remote_ip,omitempty"`
	TLS        string            `json:"tls,omitempty"` // version and cipher, as in Received

	Session   string `json:"session,omitempty"`   // id of the session it came in, as in the log
	Helo      string `json:"helo,omitempty"`      // the client's EHLO name
	Mechanism string `json:"mechanism,omitempty"` // of the log-in
	// Trace is the context of the acceptance's trace, as in the header field traceparent (W3C Trace Context). Empty: it is not traced.
	Trace string `json:"trace,omitempty"`

	AppPassword string `json:"app_password,omitempty"` // label of the one that the user logged in with

	// Recipients as they were accepted. What became of them is in the jobs.
	Recipients []Recipient `json:"recipients"`
}

// Recipient is one of an entry's recipients and, in a job, what has become of it.
type Recipient struct {
	Address string   `json:"address"`          // exact forward path, without brackets
	Notify  []string `json:"notify,omitempty"` // NOTIFY of RFC 3461
	ORCPT   string   `json:"orcpt,omitempty"`  // as sent
	// Route is the complete address that <Postmaster> alone stands for; empty otherwise.
	Route string `json:"route,omitempty"`

	// Index is the place among the entry's recipients, in a job.
	Index int `json:"-"`
	Fate
}

// Fate is what has become of a recipient.
type Fate struct {
	State State  `json:"state,omitempty"`
	Error string `json:"error,omitempty"` // the last reply or cause, for the log and the bounce
	// Code and Status are the last refusal's, e.g. 550 and "5.1.1".
	Code   int    `json:"code,omitempty"`
	Status string `json:"status,omitempty"`
	// RemoteMTA is who said so; empty when it was ourselves. A sink that asks another
	// server sets it; the queue clears it before each attempt.
	RemoteMTA string `json:"remote_mta,omitempty"`
}

// ownAddress stands for the recipient's address in a reply that names it, as many do: a thousand recipients
// that were refused alike then have one fate, which is written once.
const ownAddress = "\x00" // oneLine leaves none

// common is the recipient's fate with a mark in the place of its address.
func (r *Recipient) common() Fate {
	f := r.Fate
	if r.Address != "" {
		f.Error = strings.ReplaceAll(f.Error, r.Address, ownAddress)
	}
	return f
}

// of is the fate that common made common, as r's own.
func (f Fate) of(r *Recipient) Fate {
	f.Error = strings.ReplaceAll(f.Error, ownAddress, r.Address)
	return f
}

// Complete is the address that matchers and path templates ask about: Address,
// or what it stands for.
func (r *Recipient) Complete() string {
	if r.Route != "" {
		return r.Route
	}
	return r.Address
}

// State is what has become of a recipient.
type State string

// States of a recipient.
const (
	Pending   State = ""          // to be delivered, perhaps after failures
	Delivered State = "delivered" // the sink has it
	Failed    State = "failed"    // for good
)
