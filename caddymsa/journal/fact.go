// Package journal says what became of messages: facts, each committed by the spool together with
// what it tells of. History, trace, notifications of status and the console read them; nobody keeps
// a second account. It knows neither queue nor spool, so that both can speak of it.
package journal

import "time"

// Kind is what a fact tells.
type Kind string

// Kinds of facts. Of each recipient of an accepted message there is one of Delivered, Failed and
// Expired in the end, unless the message was Deleted; a fact with the name of a Copy says nothing of them, and
// each copy ends as they do.
const (
	Accepted  Kind = "accepted"  // the client was told so; has Submission
	Deferred  Kind = "deferred"  // an attempt failed and another follows
	Delivered Kind = "delivered" // the next hop, or the sink, has it
	Failed    Kind = "failed"    // for good, by an answer or by the operator
	Expired   Kind = "expired"   // for good, by its age
	Bounced   Kind = "bounced"   // the sender was told of failures; Notification
	Told      Kind = "told"      // the sender was told of something else; Notification, Text says of what
	Untold    Kind = "untold"    // nobody is told of failures; Text says why
	Held      Kind = "held"      // Text says why, By who if it was an operator
	Released  Kind = "released"
	Retried   Kind = "retried"  // the operator wants it tried at once
	Rerouted  Kind = "rerouted" // Text names the server whose routes take it
	Deleted   Kind = "deleted"  // Recipients are those that waited; an attempt under way can still end in Delivered
	Moved     Kind = "moved"    // to another spool, which has it from now on with its facts; Text names that
	Refused   Kind = "refused"  // a user was refused; it has no message, and no commit to ride on: see Noter

	// What an operator did with a lane or a network, or tried: without a message, as Refused. Text names it, By who it was.
	Paused    Kind = "paused"
	Resumed   Kind = "resumed"
	Probed    Kind = "probed"
	Unblocked Kind = "unblocked"
	Tried     Kind = "tried" // a test message was submitted, or a log-in checked

	// What an operator did with a user. Renamed: User is the new name, Sender the one before.
	Renamed Kind = "renamed"
)

// Kinds are all that there are, in the order of a message's life.
var Kinds = []Kind{Accepted, Deferred, Delivered, Failed, Expired, Bounced, Told, Untold, Held, Released, Retried, Rerouted, Deleted, Moved, Refused,
	Paused, Resumed, Probed, Unblocked, Tried, Renamed}

// Final tells whether nothing follows such a fact for the recipients that it names.
func (k Kind) Final() bool {
	return k == Delivered || k == Failed || k == Expired || k == Deleted
}

// Fact is something that happened to a message. It is written once, as JSON: fields are only ever added.
type Fact struct {
	// Position is the fact's place in the journal that it was read from. Who writes leaves it empty.
	Position Position `json:"-"`

	Time time.Time `json:"time"`
	What Kind      `json:"what"`
	ID   string    `json:"id,omitempty"` // the message's queue id; empty for Refused

	Server string `json:"server,omitempty"` // hostname of the server that accepted or refused it
	User   string `json:"user,omitempty"`
	Sender string `json:"sender,omitempty"` // exact reverse path, without brackets; "" for <>
	// Recipients are those that the fact is about, the first MaxRecipients of them in a Deferred (which
	// comes again with each attempt); Count is how many they are.
	Recipients []string `json:"recipients,omitempty"`
	Count      int      `json:"count,omitempty"`
	// Text is an error, a reason, or what was refused.
	Text string `json:"text,omitempty"`

	*Submission
	*Visit
	// Notification is the queue id of what the sender was sent.
	Notification string `json:"notification,omitempty"`
	// By is the operator who did it, as far as that is known. Empty: the server itself.
	By string `json:"by,omitempty"`
	// Moment and Reply of a Refused: the verb, such as RCPT, and what the client was told.
	Moment string `json:"moment,omitempty"`
	Reply  string `json:"reply,omitempty"`
	// Policy that held or refused it.
	Policy string `json:"policy,omitempty"`
	// Carried: it came with its message out of another spool's journal. Who follows facts to act on them passes over
	// it, since it was followed there.
	Carried bool `json:"carried,omitempty"`
}

// OfDeleted are those of an attempt's facts that are kept where its message was deleted meanwhile: what was delivered
// was delivered. Nothing follows the rest: the sender is not told, and no attempt comes after it.
func OfDeleted(facts []Fact) []Fact {
	var kept []Fact
	for i := range facts {
		if facts[i].What == Delivered {
			kept = append(kept, facts[i])
		}
	}
	return kept
}

// MaxRecipients is how many addresses a Deferred names.
const MaxRecipients = 10

// Submission is how a message came in: part of Accepted and Refused.
type Submission struct {
	Size       int64    `json:"size,omitempty"` // octets
	Body       string   `json:"body,omitempty"` // as in MAIL
	EnvelopeID string   `json:"envid,omitempty"`
	Priority   int      `json:"priority,omitempty"`
	RemoteIP   string   `json:"remote_ip,omitempty"`
	Helo       string   `json:"helo,omitempty"`
	ClientTLS  string   `json:"client_tls,omitempty"` // version and cipher
	Mechanism  string   `json:"mechanism,omitempty"`
	Session    string   `json:"session,omitempty"`
	Policies   []string `json:"policies,omitempty"` // that looked at it, in their order
	Bounce     bool     `json:"bounce,omitempty"`   // a notification of this server's own
	// Once is a digest of the user and of the key that it gave the request, by which an Accepted is found; OnceSum is one of all
	// that the request held.
	Once    string `json:"once,omitempty"`
	OnceSum string `json:"once_sum,omitempty"`
	// AppPassword is the label of the application password that the user had logged in with.
	AppPassword string `json:"app_password,omitempty"`
}

// Visit is an attempt at a lane: part of Deferred, Delivered, Failed and Expired.
type Visit struct {
	Route   string `json:"route,omitempty"`
	Lane    string `json:"lane,omitempty"`
	Attempt int    `json:"attempt,omitempty"` // from 1 on
	Host    string `json:"host,omitempty"`    // the next hop's name
	Address string `json:"address,omitempty"` // its IP address and port
	TLS     string `json:"tls,omitempty"`     // version and cipher; empty in clear
	Answer  string `json:"answer,omitempty"`  // its last line, as far as Text does not have it
	HopID   string `json:"hop_id,omitempty"`  // its queue id
	Code    int    `json:"code,omitempty"`    // of a refusal
	Status  string `json:"status,omitempty"`  // its enhanced code
	// Duration of the attempt, and when the next is due (Deferred).
	Duration time.Duration `json:"duration,omitempty"`
	Next     time.Time     `json:"next,omitzero"`
	Copy     string        `json:"copy,omitempty"` // of a copy: its name
}
