// Package queue takes accepted messages to where they go: it leases due jobs
// from a spool, asks a router which sink takes their recipients, runs the attempts,
// retries, gives up, and tells senders what failed. It knows nothing of Caddy.
package queue

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
)

// Spool keeps messages on stable storage between acceptance and the end of delivery. It is the
// seam for scale: nodes that accept and nodes that deliver may share one. Implementations are safe
// for concurrent use; a Spool value is one node's.
type Spool interface {
	// Create begins a message. Nothing of it is visible before Commit.
	Create(ctx context.Context) (Draft, error)

	// Lease gives the caller one job whose turn it is at now, to have alone until the lease ends.
	// Turns are decided here and nowhere else, among jobs that are due in lanes with room (SetLane):
	// the higher priority comes first, though one turn in eight goes lower; among equals users take
	// turns, so that nobody's ten thousand messages delay somebody else's one, in each lane as in
	// all of them; of one user what is due first. A job whose deadline has passed is due whatever its
	// lane says, and so, whenever now has gone back, is what was accepted in the future; it is leased with
	// a deadline that has passed. What is held is never due. ErrNoneDue comes with the time at which the next job
	// comes due (zero: none is waiting). What a process that died had leased is due again.
	Lease(ctx context.Context, now time.Time, want Want) (Lease, time.Time, error)

	// SetLane says how much of a lane this caller takes from now on. It is told of changes only,
	// forgets nothing until the next, and must be quick. The lane without a name has no limit.
	SetLane(name string, s LaneState)

	// Operator gives the operator's view of the spool.
	Operator
}

// Want restricts what Lease gives.
type Want struct {
	// Proven: only jobs of lanes that are Proven, or of the lane without a name.
	Proven bool
}

// LaneState is what a node takes of a lane.
type LaneState struct {
	// Limit is how many of the lane's jobs the caller has leased at once: 0 is none (the lane is
	// down, paused or paced), negative any number.
	Limit int
	// Proven: deliveries succeed there.
	Proven bool
	// Probe: the lane is down, and what is leased there is to find out whether it still is. So it is another job than the
	// last, whatever their priorities, while there is one.
	Probe bool
}

// NewLane is the state of a lane of which nothing was said yet.
var NewLane = LaneState{Limit: 1}

// OpenSpool is a Spool that was opened and is closed by whoever opened it, after
// the last lease and the last draft ended: later calls give ErrClosed.
type OpenSpool interface {
	Spool
	io.Closer
}

// Notifier is what a Spool can be besides: it wakes who waits for something to lease.
type Notifier interface {
	// Notify returns a channel that gets a value (it holds one, more are dropped)
	// whenever a job was committed, given back or changed, or a lane was, so that what
	// ErrNoneDue said may be out of date.
	Notify() <-chan struct{}
}

// Stamper is what a Spool can be besides: it knows which configurations have routed its jobs, so that a start need not
// look at each of half a million to find that nothing has changed.
type Stamper interface {
	// Stamps are the stamps of all jobs that have a lane, and perhaps of some that had: of those with the same content
	// one. An empty one stands for what is not known.
	Stamps() []string
}

// LaneSharer is what a Spool that many nodes share can be besides: what one node finds out about a lane
// the others hear, and they divide each lane's limits among them. The queue of a node that delivers asks
// HearLanes before each Lease; Notify wakes it when there is something to hear.
type LaneSharer interface {
	// Place is this node's among those that deliver from a lane, from 0 on, and how many they are.
	// Zero nodes: it has none, as long as others may still use what would be its part.
	Place(lane string) (place, nodes int)
	// TellLane has the other nodes hear this of a lane; the last word counts. It must be quick.
	TellLane(c LaneCondition)
	// HearLanes returns what others have told, each condition once, and whether places may have
	// changed since it was asked last. Asking again says that what it returned is heeded.
	HearLanes() (conditions []LaneCondition, moved bool)
}

// LaneCondition is what all nodes are to know of a lane. That of a lane which is up has a name only.
type LaneCondition struct {
	Lane     string
	Failures int       // to reach it, in a row; above 0 it is down
	Probe    time.Time // when one node tries it again: that at place Failures-1, modulo nodes
	Since    time.Time // of being down or paused
	Cause    string    // of being down
	Paused   string    // by the operator, and why
}

// Operator lists and steers what lies in a spool. A message that is being delivered can be
// steered like others: what is done takes effect at once on its jobs that wait. The attempt under
// way ends; its success counts, its failure follows the new state.
type Operator interface {
	// Get returns a message's envelope and state by its id, or ErrNotFound.
	Get(ctx context.Context, id string) (*EntryView, error)
	// List calls yield for messages in the order of their ids, beginning after
	// the id given, until yield returns false.
	List(ctx context.Context, after string, yield func(*EntryView) bool) error
	// Change alters a message's Status and those of its Jobs that are not Leased in one step, and
	// returns how many are. Jobs without a number are new. An error of change is returned and
	// nothing altered; change may be called again when somebody else was faster. What it leaves in
	// Facts is part of the same commit.
	Change(ctx context.Context, id string, change func(*EntryView) error) (inFlight int, err error)
	// Delete takes a message away and returns how many of its jobs were in flight, whose Record
	// succeeds without effect. The facts are part of the same commit, as EntryView.Waits has them: an attempt
	// may have ended since they were made.
	Delete(ctx context.Context, id string, facts ...journal.Fact) (inFlight int, err error)
	// Lanes calls yield for the lanes that have jobs, in any order.
	Lanes(ctx context.Context, yield func(LaneInfo) bool) error
	// InLane returns the ids of up to limit messages with a job that waits in the lane, the oldest
	// first, without those up to and including the id given.
	InLane(ctx context.Context, lane, after string, limit int) ([]string, error)
	// Size is how much the spool keeps, known without looking at it all.
	Size(ctx context.Context) (messages int, octets int64, err error)
}

// LaneInfo is what a spool knows of a lane.
type LaneInfo struct {
	Name    string
	Waiting int       // jobs that are not leased, held ones excepted
	Leased  int       // by anybody
	Oldest  time.Time // when the oldest message with a job there was accepted
}

// Roomy is what a Spool can be besides: it knows how much room is left.
type Roomy interface {
	// Room is how many octets are free where the spool is, of how many, and how many of them are not used for messages.
	Room() (free, total, reserve int64, err error)
}

// Identifier is what a Spool can be besides that can be opened by several names: two that have the same identity keep the same messages.
type Identifier interface {
	Identity() string
}

// Trier is what a Spool can be besides that may answer questions and take no messages, such as a database whose disk is full or whose standby is away.
type Trier interface {
	// TryCommit tells whether a message would be committed now. It heeds its context.
	TryCommit(ctx context.Context) error
}

// MessageOpener is what a Spool can be besides: it shows a message to the operator.
type MessageOpener interface {
	// OpenMessage reads a message, whoever has it leased.
	OpenMessage(ctx context.Context, id string) (io.ReadSeekCloser, error)
}

// Checker is what a Spool can be besides: it reads all that it keeps.
type Checker interface {
	// Check calls progress now and then with how many messages were read, and found for each that
	// is not whole, and returns how many there are.
	Check(ctx context.Context, progress func(messages int), found func(id, problem string)) (messages int, octets int64, err error)
}

// DamageCounter is what a Spool can be besides: it says how many messages it cannot read whole.
type DamageCounter interface {
	Damaged() int
}

// Draft is a message being written. The caller ends it with Commit or Abort, or gives it to a
// Record; Abort after it was committed does nothing.
type Draft interface {
	// Write appends to the message's body (everything that was submitted).
	io.Writer
	// Reader opens what has been written so far, from its start.
	Reader() (io.ReadCloser, error)
	// Commit makes the message durable with its jobs: when it returns nil they survive a crash and
	// a power loss, when it fails there is nothing left of them. ErrFull when there is no room.
	Commit(ctx context.Context, a *Accept) error
	// Abort leaves nothing behind.
	Abort()
}

// Accept is what is committed of a message beside its body.
type Accept struct {
	// Entry is the envelope, written once. The caller leaves it alone afterwards.
	Entry *Entry
	// Header is prepended to the body when the message is read.
	Header []byte
	// Jobs share the entry's recipients among them, those of each copy once more. Nil: one job, unrouted and due at once.
	Jobs []Job
	// Held says why the message is held from the beginning; empty: it is not.
	Held string
	// Once has the message committed only if none was that is the same: else *BeforeError. Nil: in any case. A
	// Rememberer heeds it, others do not.
	Once *Once
	// Facts for the journal are part of the same commit, where the spool is a journal.Journal.
	Facts []journal.Fact
}

// Once is by what messages are the same, and for how long that counts.
type Once struct {
	Digest [32]byte
	Keep   time.Duration // from the commit on, beyond delivery
}

// Rememberer is what a Spool can be besides: it heeds Accept.Once, in the same commit.
type Rememberer interface {
	// Before returns the id of the message that was committed with the digest and still counts; empty: there is none.
	Before(ctx context.Context, digest [32]byte) (id string, err error)
}

// BeforeError says that the same message was committed before, and as what.
type BeforeError struct{ ID string }

func (e *BeforeError) Error() string { return "committed before as " + e.ID }

// Lease is one job in the hands of one worker. It lasts until Record or Release, as long as this
// node can prove to the others that it lives.
type Lease interface {
	// Entry is the envelope, shared with other leases: it must not be changed.
	Entry() *Entry
	// Job is the caller's own copy, with the number that Record wants back.
	Job() *Job
	// Status was the entry's when the job was leased, shared with other leases: it must not be changed.
	Status() *Status
	// Open reads the message: the prepended header, then the body.
	Open(ctx context.Context) (io.ReadSeekCloser, error)
	// Lost is closed when the job may be somebody else's by now: the attempt should end.
	Lost() <-chan struct{}
	// Record commits what the job came to, durably, and ends the lease. Who ends the entry's last
	// job ends the entry, with its message. ErrLost: the job is somebody else's by now and
	// nothing was recorded. After other errors the lease goes on, and Record may be tried again
	// with the same or another Record. The context bounds the wait, not the commit. For an entry
	// that was deleted it succeeds.
	Record(ctx context.Context, r *Record) error
	// Release gives the job back unchanged, due again at once.
	Release()
}

// Record is what became of a leased job, and of its entry through it.
type Record struct {
	// At is when, by the caller's clock.
	At time.Time
	// Jobs are the job itself, with its number, and those that were split off, without one. A job
	// without a pending recipient has ended.
	Jobs []Job
	// Notes are added to what the sender is to be told, at NotesDue or when the last of the entry's jobs that is
	// not a copy has ended, if that is sooner.
	Notes    []Note
	NotesDue time.Time
	// Told is the Seq up to which notes were told, by what is in Messages.
	Told int
	// Messages are committed together with the rest: notifications. If Record fails their drafts
	// are aborted.
	Messages []MessageDraft
	// Keep has the entry stay as a dead letter until then when its last job has ended.
	Keep time.Time
	// Since is from when the entry's age counts from now on.
	Since time.Time
	// Hold puts the entry on hold, and says why.
	Hold string
	// Events are added to the entry's history. A job has one of its own.
	Events []Event
	// Remove ends the entry whatever else is left of it.
	Remove bool
	// Facts for the journal are part of the same commit. For an entry that was deleted those of journal.OfDeleted are
	// kept, and those of the Messages are not.
	Facts []journal.Fact
}

// MessageDraft is a message that is committed with a Record.
type MessageDraft struct {
	Draft Draft
	Accept
}

type notification struct{}

// AsNotification marks what is created with ctx as a notification of this server's, which a limit on
// what clients submit must not keep from being sent.
func AsNotification(ctx context.Context) context.Context {
	return context.WithValue(ctx, notification{}, true)
}

// IsNotification tells whether ctx was marked so.
func IsNotification(ctx context.Context) bool { return ctx.Value(notification{}) != nil }

type moved struct{}

// asMoved marks what is created and committed with ctx as taken from another spool. No client waits for an answer: what may or may not have
// been committed must not be taken back, since the move goes on with it when it is called again.
func asMoved(ctx context.Context) context.Context { return context.WithValue(ctx, moved{}, true) }

// IsMoved tells whether ctx was marked so.
func IsMoved(ctx context.Context) bool { return ctx.Value(moved{}) != nil }

var (
	// ErrNoneDue says that no job is due yet.
	ErrNoneDue = errors.New("no job is due")
	// ErrNotFound says that there is no such message.
	ErrNotFound = errors.New("no such message")
	// ErrLost says that a lease has ended without the caller's doing.
	ErrLost = errors.New("the lease was lost")
	// ErrLeaseEnded says that a lease was recorded or released before.
	ErrLeaseEnded = errors.New("the lease has ended")
	// ErrFull says that the spool cannot take more now; the client hears 452 4.3.1.
	ErrFull = errors.New("the spool is full")
	// ErrInUse says that another process has the spool, which only one can have at a time.
	ErrInUse = errors.New("the spool is in use by another process")
	// ErrClosed says that the spool has been closed.
	ErrClosed = errors.New("the spool is closed")
)
