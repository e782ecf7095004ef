package caddymsa

import (
	"context"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// SpoolModule is a module in the namespace msa.spools.
type SpoolModule interface {
	// Key is the identity of what Open opens, such as a directory: configurations
	// of one key share one spool.
	Key() string
	// Open is called at Start, never to validate a configuration: exclusive
	// things, such as a lock, belong here.
	Open(ctx context.Context, log *zap.Logger) (queue.OpenSpool, error)
}

// SpoolAdjuster is what a SpoolModule can be besides: its settings are applied to a spool that an earlier
// configuration with the same key has opened.
type SpoolAdjuster interface {
	Adjust(queue.OpenSpool)
}

// SpoolFinder is what a SpoolModule can be besides: it tells whether there is already what Open would make.
type SpoolFinder interface {
	Exists() (bool, error)
}

// SpoolCounter is what a SpoolModule can be besides: what it opens is a counts.Counter, in which limits can count for all nodes.
type SpoolCounter interface {
	OpensCounter()
}

// SpoolCounting is what a policy can be besides: it tells whether it is set to count in the spool, which has to be a SpoolCounter.
type SpoolCounting interface {
	CountsInSpool() bool
}
