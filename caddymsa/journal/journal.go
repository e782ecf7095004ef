package journal

import (
	"context"
	"time"
)

// Position is a place in one journal. What it says is the spool's business; "" is before the first fact.
type Position string

// Reader reads a journal. A Spool that keeps facts is one.
type Reader interface {
	// Facts calls yield for the facts that q asks for, the latest first, until it returns false. A query
	// by ID, User or an address finds its facts by an index.
	Facts(ctx context.Context, q *Query, yield func(*Fact) bool) error
	// Follow returns up to limit facts that come after a place, in an order in which each fact of a message
	// follows those before it and nothing is ever added before what was returned. None: there is
	// nothing more yet, or something is being committed before which nothing else may be told.
	Follow(ctx context.Context, after Position, limit int) ([]Fact, error)
}

// Noter writes facts that have no commit to ride on: of users' refusals. They are durable some seconds later, and
// have a quota of their own.
type Noter interface {
	// Note keeps facts or, where the quota is used up, counts what it drops. It must be quick.
	Note(facts ...Fact)
}

// Cursors keeps how far each follower has come, durably.
type Cursors interface {
	// Cursor returns what SetCursor said last, or another way to write that place; "" at first.
	Cursor(ctx context.Context, name string) (Position, error)
	// SetCursor moves it. Facts after the least of the cursors are kept beyond Limits, up to twice MaxSize.
	SetCursor(ctx context.Context, name string, p Position) error
	// DropCursor forgets a follower.
	DropCursor(ctx context.Context, name string) error
}

// CursorLister is what Cursors can be besides: it knows their names.
type CursorLister interface {
	// CursorNames returns those that begin with prefix.
	CursorNames(ctx context.Context, prefix string) ([]string, error)
}

// Keeper bounds a journal.
type Keeper interface {
	// SetLimits says how much is kept from now on. Until it is called the spool forgets nothing.
	SetLimits(l Limits)
	// Purge takes an address out of all facts, wherever it stands in them (Fact.Forget), and returns how many were changed. What
	// comes later is kept.
	Purge(ctx context.Context, address string) (facts int, err error)
	// Stat is how much there is, and when the oldest fact was.
	Stat(ctx context.Context) (Stat, error)
}

// Limits of a journal: what is older or more is forgotten within a minute or so, the oldest first. Zero: any.
type Limits struct {
	Off     bool // nothing new is kept
	Keep    time.Duration
	MaxSize int64 // octets, as the spool reckons what facts take with all that finds them
}

// Default limits.
const (
	DefaultKeep    = 7 * 24 * time.Hour
	DefaultMaxSize = 1 << 30
)

// Stat is how much a journal keeps.
type Stat struct {
	Facts   int64     `json:"facts"`
	Octets  int64     `json:"octets"`
	Oldest  time.Time `json:"oldest,omitzero"`
	Dropped int64     `json:"dropped"` // facts that Note dropped, since the start
	// Waiting facts were given to Note and are not written yet, the oldest since then; zero: none.
	Waiting int       `json:"waiting,omitempty"`
	Since   time.Time `json:"since,omitzero"`
	// End is after all that Follow would return now: where a follower begins that is to hear of what is new only. It is
	// not "", even where nothing was ever kept: so a follower that begins there is known to have begun.
	End Position `json:"-"`
}

// Claimer is what a Journal that nodes share can be besides: one node at a time acts for a follower. Where
// the journal is no Claimer, this node is the only one.
type Claimer interface {
	// Claim waits until no other node, and nobody else here, has the follower. lost is closed when it may be another's
	// by now, such as after the node was out of touch. release gives it back.
	Claim(ctx context.Context, follower string) (lost <-chan struct{}, release func(), err error)
}

// Journal is all of it: what a Spool can be besides (queue.Spool).
type Journal interface {
	Reader
	Noter
	Cursors
	Keeper
}
