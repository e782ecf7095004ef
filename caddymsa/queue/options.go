package queue

import (
	"time"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/dsn"
)

// Options are a queue's surroundings. Time comes from package time: tests run a
// queue in a bubble of testing/synctest.
type Options struct {
	// Logger gets a line for each attempt. Default: none.
	Logger *zap.Logger
	// NewID makes the queue ids of bounces. Default: random text.
	NewID func() string
	// Observer is told what happens. Default: nobody.
	Observer Observer
	// Rand returns a number from 0 to n-1, to spread retries. Default: package math/rand/v2.
	Rand func(n int64) int64
}

// Observer is told what becomes of entries, for metrics and events. Workers call
// it, several at once; it must not block and may read what it is given only
// until it returns.
type Observer interface {
	// Attempted follows each attempt at a job.
	Attempted(a *Attempt)
	// GaveUp follows the final failure of recipients. bounce is the queue id of the
	// notification that tells the sender; when it is empty, reason says why nobody is told.
	GaveUp(e *Entry, failed []*Recipient, bounce, reason string)
	// Told follows a notification of a delay or a success, whose queue id is given.
	Told(e *Entry, action dsn.Action, about []*Recipient, id string)
	// Held follows an entry that the queue put on hold.
	Held(e *Entry, reason string)
}

// Attempt is what became of one attempt.
type Attempt struct {
	Entry *Entry
	// Copy is the copy's name, if it was one's.
	Copy string
	// Route is the sink's name from Generation.Route; empty when no route took the recipients.
	Route    string
	Lane     string
	Results  []Result
	Duration time.Duration
}

// Result is what an attempt came to for one recipient.
type Result struct {
	Recipient *Recipient
	Outcome   Outcome
	Err       error // nil when it was delivered
	Answer    Answer
}

// Outcome is what an attempt came to.
type Outcome string

// Outcomes of an attempt.
const (
	OutcomeDelivered   Outcome = "delivered"
	OutcomeDeferred    Outcome = "deferred"    // to be tried again
	OutcomeFailed      Outcome = "failed"      // for good
	OutcomeInterrupted Outcome = "interrupted" // by the end of the generation or of the queue; it does not count
)

func (o *Options) setDefaults() {
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.NewID == nil {
		o.NewID = randomID
	}
	if o.Observer == nil {
		o.Observer = nobody{}
	}
	if o.Rand == nil {
		o.Rand = randomBelow
	}
}

type nobody struct{}

func (nobody) Attempted(*Attempt)                            {}
func (nobody) GaveUp(*Entry, []*Recipient, string, string)   {}
func (nobody) Told(*Entry, dsn.Action, []*Recipient, string) {}
func (nobody) Held(*Entry, string)                           {}
