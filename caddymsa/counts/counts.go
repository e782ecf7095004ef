// Package counts is the contract between limits that several nodes share and the store that has their counts.
package counts

import (
	"context"
	"time"
)

// Change is one change of one count, made in one step.
type Change struct {
	// Key names the count. It is short, and made of nothing that a stranger chose.
	Key string
	// Add is what is added. What is less than zero is given back, until nothing is left.
	Add int64
	// Max is what there may be at most afterwards; else nothing is added. Zero: any number.
	Max int64
	// Look only tells what would come of it.
	Look bool
	// Keep is how long the count is kept after the last change. Zero: it is microseconds, and passes like them by the store's
	// clock: what was added is there for so long, as in a bucket that leaks.
	Keep time.Duration
}

// Count is what came of a change.
type Count struct {
	Level int64 // as it is now
	Full  bool  // there was, or would be, no room
}

// Counter has counts in common with other nodes. It may forget them when it crashes.
type Counter interface {
	// Count makes the changes, each by itself, and returns what came of them in their order. An error says that nobody
	// knows which were made.
	Count(ctx context.Context, changes ...Change) ([]Count, error)
}
