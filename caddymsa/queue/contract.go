// Package queue takes accepted messages to where they go: it leases due entries
// from a spool, asks a router which sink takes each recipient, runs the attempts,
// retries, gives up, and tells senders what failed. It knows nothing of Caddy.
package queue

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"
)

// Spool keeps messages and envelopes on stable storage between acceptance and
// the end of delivery. It is the seam for scale: nodes that accept and nodes that
// deliver may share one. Implementations are safe for concurrent use.
type Spool interface {
	// Create begins a message. Nothing of it is visible before Commit.
	Create(ctx context.Context) (Draft, error)

	// Lease takes one of the entries whose time has come at now, and gives it to the
	// caller alone until the lease ends. Those of a higher priority come first, without keeping
	// lower ones waiting for ever; among equals users take turns, so that nobody's ten
	// thousand messages delay somebody else's one; among one user's, the one due first. It
	// returns ErrNoneDue with the time at which the next one comes due (zero: none is waiting).
	// A held entry is never due. Entries leased by a process that died are due again.
	Lease(ctx context.Context, now time.Time) (Lease, time.Time, error)

	// Operator gives the operator's view of the spool.
	Operator
}

type notification struct{}

// AsNotification marks what is created with ctx as a notification of this server's, which a limit on
// what clients submit must not keep from being sent.
func AsNotification(ctx context.Context) context.Context {
	return context.WithValue(ctx, notification{}, true)
}

// IsNotification tells whether ctx was marked so.
func IsNotification(ctx context.Context) bool { return ctx.Value(notification{}) != nil }

// OpenSpool is a Spool that was opened and is closed by whoever opened it, after
// the last lease and the last draft ended: later calls give ErrClosed.
type OpenSpool interface {
	Spool
	io.Closer
}

// Notifier is what a Spool can be besides: it wakes who waits for something to lease.
type Notifier interface {
	// Notify returns a channel that gets a value (it holds one, more are dropped)
	// whenever an entry was committed, given back or changed, so that what
	// ErrNoneDue said may be out of date.
	Notify() <-chan struct{}
}

// Operator lists and steers what lies in a spool.
type Operator interface {
	// Get returns an entry by its id, or ErrNotFound.
	Get(ctx context.Context, id string) (*Entry, error)
	// List calls yield for entries in the order of their ids, beginning after
	// the id given, until yield returns false.
	List(ctx context.Context, after string, yield func(*Entry) bool) error
	// Update changes an entry's schedule or hold in one step; it returns
	// ErrLeased while the entry is being delivered. A nil result deletes it.
	Update(ctx context.Context, id string, change func(*Entry) *Entry) error
}

// MessageOpener is what a Spool can be besides: it shows an entry's message to the operator.
type MessageOpener interface {
	// OpenMessage reads the message of an entry, whoever has it leased.
	OpenMessage(ctx context.Context, id string) (io.ReadSeekCloser, error)
}

// Sizer is what a Spool can be besides: it knows how much it keeps, without looking.
type Sizer interface {
	Size() (messages int, octets int64)
}

// Checker is what a Spool can be besides: it reads all that it keeps.
type Checker interface {
	// Check calls progress now and then with how many messages were read, and found for each that
	// is not whole, and returns how many there are.
	Check(ctx context.Context, progress func(messages int), found func(id, problem string)) (messages int, octets int64, err error)
}

// Draft is a message being written. The caller ends it with Commit or Abort;
// Abort after Commit does nothing.
type Draft interface {
	// Write appends to the message's body (everything that was submitted).
	io.Writer
	// Reader opens what has been written so far, from its start.
	Reader() (io.ReadCloser, error)
	// Commit makes body, header and entry durable as one: when it returns nil
	// they survive a crash and a power loss, when it fails there is nothing left
	// of them. The header is prepended to the body when the message is read.
	// The entry is due at its Next. ErrFull when there is no room.
	Commit(ctx context.Context, e *Entry, header []byte) error
	// Abort leaves nothing behind.
	Abort()
}

// Lease is one entry in the hands of one worker.
type Lease interface {
	Entry() *Entry
	// Open reads the message: the prepended header, then the body.
	Open() (io.ReadSeekCloser, error)
	// Record stores what became of the recipients and when the entry is due
	// again, durably, and ends the lease. An entry that is Done is deleted with its
	// message. Bounces made from it are committed first: a crash
	// between the two may bounce twice, never not at all.
	Record(ctx context.Context, e *Entry) error
	// Release gives the entry back unchanged, due again at once.
	Release()
}

// Postponer is what a Lease can be besides: Postpone gives the entry back as Release does, to be
// due at another time, which is kept in memory alone.
type Postponer interface {
	Postpone(until time.Time)
}

var (
	// ErrNoneDue says that no entry is due yet.
	ErrNoneDue = errors.New("no entry is due")
	// ErrNotFound says that there is no such entry.
	ErrNotFound = errors.New("no such entry")
	// ErrLeased says that the entry is being delivered.
	ErrLeased = errors.New("the entry is being delivered")
	// ErrFull says that the spool cannot take more now; the client hears 452 4.3.1.
	ErrFull = errors.New("the spool is full")
	// ErrClosed says that the spool has been closed.
	ErrClosed = errors.New("the spool is closed")
)

// Entry is a queued message's envelope with all that matchers can ask and what
// has become of its recipients. It is stored as JSON: fields are only ever added.
type Entry struct {
	ID       string    `json:"id"`       // the queue id that the client was told
	Server   string    `json:"server"`   // hostname of the server that accepted it
	Accepted time.Time `json:"accepted"` // when
	Size     int64     `json:"size"`     // octets of header and body together

	Sender     string `json:"sender"`             // exact reverse path, without brackets; "" for <>
	ReturnPath bool   `json:"return_path"`        // Sender passed sender_identity: bounces may go there (docs/dev/architecture.md, decision 7)
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

	Recipients []Recipient `json:"recipients"`

	Next     time.Time `json:"next"`               // due
	Attempts int       `json:"attempts,omitempty"` // made so far
	Held     string    `json:"held,omitempty"`     // why it is held; "" when it is not
	Since    time.Time `json:"since,omitzero"`     // from when Expire counts, if not from Accepted
	Dead     time.Time `json:"dead,omitzero"`      // a dead letter: nothing is pending, it is kept for the operator until then
	GivenUp  string    `json:"given_up,omitempty"` // what the operator has the sender told: nothing is tried any more
	History  []Event   `json:"history,omitempty"`  // what happened since it was accepted
}

// Done tells whether nothing is left to do, so that the entry can be deleted: no recipient is
// pending, and it is no dead letter.
func (e *Entry) Done() bool {
	return e.Dead.IsZero() && !slices.ContainsFunc(e.Recipients, func(r Recipient) bool { return r.State == Pending })
}

// began is from when Expire and Warn count.
func (e *Entry) began() time.Time {
	if !e.Since.IsZero() {
		return e.Since
	}
	return e.Accepted
}

// Recipient is one of an entry's recipients.
type Recipient struct {
	Address string   `json:"address"`          // exact forward path, without brackets
	Notify  []string `json:"notify,omitempty"` // NOTIFY of RFC 3461
	ORCPT   string   `json:"orcpt,omitempty"`  // as sent
	// Route is the complete address that <Postmaster> alone stands for; empty otherwise.
	Route string `json:"route,omitempty"`

	Next     time.Time `json:"next,omitzero"`      // not to be tried before; zero: with the entry
	Attempts int       `json:"attempts,omitempty"` // made so far
	Warned   bool      `json:"warned,omitempty"`   // the sender was told of the delay

	State State  `json:"state"`
	Error string `json:"error,omitempty"` // the last reply or cause, for the log and the bounce
	// Code and Status are the last refusal's, e.g. 550 and "5.1.1".
	Code   int    `json:"code,omitempty"`
	Status string `json:"status,omitempty"`
	// RemoteMTA is who said so; empty when it was ourselves. A sink that asks another
	// server sets it; the queue clears it before each attempt.
	RemoteMTA string `json:"remote_mta,omitempty"`
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

// Delivery is one attempt: a message and those of its recipients that one sink takes.
type Delivery struct {
	Entry      *Entry
	Recipients []*Recipient

	open    func() (io.ReadSeekCloser, error)
	errs    map[*Recipient]error
	relayed map[*Recipient]bool
	answers map[*Recipient]Answer
	final   func() error
}

// NewDelivery returns an attempt; open reads the message from its start.
func NewDelivery(e *Entry, rcpts []*Recipient, open func() (io.ReadSeekCloser, error)) *Delivery {
	return &Delivery{Entry: e, Recipients: rcpts, open: open}
}

// Open reads the message, prepended header fields first, with CRLF line ends.
func (d *Delivery) Open() (io.ReadSeekCloser, error) { return d.open() }

// Report says what became of one recipient: nil for delivered. Recipients that
// are not reported share what Deliver returns.
func (d *Delivery) Report(r *Recipient, err error) {
	if d.errs == nil {
		d.errs = make(map[*Recipient]error, len(d.Recipients))
	}
	d.errs[r] = err
}

// Relayed says that a delivered recipient's copy went on to another server, and whether that
// one has taken over the notifications that were asked for (RFC 3461 section 6.2). Without it
// the sink is where the message ends.
func (d *Delivery) Relayed(r *Recipient, notifies bool) {
	if d.relayed == nil {
		d.relayed = make(map[*Recipient]bool, len(d.Recipients))
	}
	d.relayed[r] = notifies
}

// WasRelayed tells what Relayed said of r, if it did.
func (d *Delivery) WasRelayed(r *Recipient) (notifies, relayed bool) {
	notifies, relayed = d.relayed[r]
	return notifies, relayed
}

// Reported tells what Report said of r, if it did.
func (d *Delivery) Reported(r *Recipient) (err error, reported bool) {
	err, reported = d.errs[r]
	return err, reported
}

// Outcome is what became of r, given what Deliver returned.
func (d *Delivery) Outcome(r *Recipient, deliverErr error) error {
	if err, ok := d.errs[r]; ok {
		return err
	}
	return deliverErr
}

// Sink is where messages end as far as this server is concerned. Implementations are safe
// for concurrent use.
type Sink interface {
	// Deliver hands the message on. nil means that every recipient without a
	// Report has it for certain. An *smtp.SMTPError with a 5yz code, or an error
	// made by Permanent, fails the recipients for good; anything else is tried
	// again later. Deliver returns soon after ctx ends.
	Deliver(ctx context.Context, d *Delivery) error
}

// Generation is a configuration's say in delivery, held for one attempt.
type Generation interface {
	// Route returns where a recipient's message goes. ErrNoRoute when nothing takes it.
	Route(e *Entry, r *Recipient) (Route, error)
	// Schedule is how often to try and when to give up, where a route does not say.
	Schedule() Schedule
	// Hostname names the server in bounces.
	Hostname(e *Entry) string
}

// Route is where messages go. Recipients of one name, sink, destination and schedule go together.
type Route struct {
	Sink Sink
	// Name in the log.
	Name string
	// Schedule of this route; nil: the generation's. Its Workers mean nothing.
	Schedule *Schedule
}

// ErrNoRoute says that no route takes a recipient. It is deferred, not bounced.
var ErrNoRoute = errors.New("no route takes the recipient")

// Schedule is when to try again.
type Schedule struct {
	// Retry are the waits after the first, second ... failure; the last repeats.
	Retry []time.Duration
	// Expire is the age at which an entry's pending recipients fail.
	Expire time.Duration
	// Workers is how many attempts run at once.
	Workers int
	// Warn is the age at which the sender is told of a delay (RFC 3461 section 4.1). Zero: never.
	Warn time.Duration
	// Keep is how long a message stays as a dead letter when it failed for good. Zero: not at all.
	Keep time.Duration
}

// Host gives the generation in charge. The context ends when that generation
// must be left (its grace period is over, or ctx itself ended); release says that
// the attempt is over. ok is false while nobody is in charge: the queue waits.
type Host interface {
	Acquire(ctx context.Context) (g Generation, attempt context.Context, release func(), ok bool)
}
