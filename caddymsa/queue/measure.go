package queue

import (
	"context"
	"time"
)

// What a Spool can be besides for those who watch it. It is asked at each scrape of the metrics, so it answers
// without looking at every message.

// Tallier counts what a spool keeps by what is to become of it.
type Tallier interface {
	Tally(ctx context.Context) (Tally, error)
}

// Tally is how many messages wait for an operator, and for what time; the others of Operator.Size are queued.
type Tally struct {
	Held int // by a policy, the queue or an operator, or because they cannot be read
	Dead int // dead letters
	// Next is when the next job that waits is due, a moment that has passed if it is due already. Zero: none waits.
	Next time.Time
}

// EngineTeller is of a spool on an engine elsewhere, such as a database that nodes share.
type EngineTeller interface {
	// Engine answers from memory.
	Engine() Engine
}

// Engine is what a node knows of a spool's engine.
type Engine struct {
	Up    bool // this node is in touch with it
	Pools []Pool
}

// Pool is a pool of connections.
type Pool struct {
	Name                     string // a word of the spool's
	Used, Idle, Opening, Max int
	Waits                    int64         // for a connection, since the start
	Waited                   time.Duration // in all of them
}
