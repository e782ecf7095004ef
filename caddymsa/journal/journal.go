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
	// nothing more yet.
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
	// Cursor returns what SetCursor said last; "" at first.
	Cursor(ctx context.Context, name string) (Position, error)
	// SetCursor moves it. Facts behind the least of the cursors are kept beyond Limits, as long as there is room.
	SetCursor(ctx context.Context, name string, p Position) error
	// DropCursor forgets a follower.
	DropCursor(ctx context.Context, name string) error
}

// Keeper bounds a journal.
type Keeper interface {
	// SetLimits says how much is kept from now on.
	SetLimits(l Limits)
	// Purge takes an address out of all facts, wherever it stands in them, and returns how many were changed. What
	// comes later is kept.
	Purge(ctx context.Context, address string) (facts int, err error)
	// Stat is how much there is, and when the oldest fact was.
	Stat(ctx context.Context) (Stat, error)
}

// Limits of a journal: what is older or more is forgotten, the oldest first.
type Limits struct {
	Off     bool // nothing new is kept
	Keep    time.Duration
	MaxSize int64 // octets
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
}

// Journal is all of it: what a Spool can be besides (queue.Spool).
type Journal interface {
	Reader
	Noter
	Cursors
	Keeper
}
