package queue

import (
	"context"
	"errors"
	"io"
	"time"
)

// Delivery is one attempt: a message and those of its recipients that one sink takes.
type Delivery struct {
	Entry      *Entry
	Recipients []*Recipient
	// Attempt is the number of this one, from 1 on.
	Attempt int
	// Copy is the copy's name, if the delivery is one: then a sink that hands the message on to another server asks
	// that one for no notification (NOTIFY=NEVER), whatever the recipients want to be told. Empty: it is theirs.
	Copy string
	// Hostname is what the server that accepted the message calls itself, such as in EHLO.
	Hostname string

	open  func() (io.ReadSeekCloser, error)
	told  reports
	final func() error
}

// NewDelivery returns an attempt; open reads the message from its start.
func NewDelivery(e *Entry, rcpts []*Recipient, open func() (io.ReadSeekCloser, error)) *Delivery {
	return &Delivery{Entry: e, Recipients: rcpts, open: open}
}

// Open reads the message, prepended header fields first, with CRLF line ends.
func (d *Delivery) Open() (io.ReadSeekCloser, error) { return d.open() }

// Sink is where messages end as far as this server is concerned. Implementations are safe
// for concurrent use.
type Sink interface {
	// Deliver hands the message on. nil means that every recipient without a
	// Report has it for certain. An *smtp.SMTPError with a 5yz code, or an error
	// made by Permanent, fails the recipients for good; anything else is tried
	// again later. Deliver returns soon after ctx ends.
	Deliver(ctx context.Context, d *Delivery) error
}

// Destinations is an optional interface of a Sink that takes messages to several places, or that
// a place can have too much of. A sink without it is one lane of no limit.
type Destinations interface {
	// Destination tells where the recipient's message goes. It is asked when the recipient is
	// accepted and again before each attempt, so it must be cheap and ask nobody.
	Destination(e *Entry, r *Recipient) Destination
}

// Destination is a place that messages go to. With the route's name it makes a lane: what is known
// of it, such as that it cannot be reached, is known for all that goes there.
type Destination struct {
	// Name tells the sink's destinations apart, and is the same in the next configuration,
	// such as host:port.
	Name string
	// Concurrency is how many attempts there may run at once. Zero: no limit of its own.
	Concurrency int
	// Rate is how many messages it takes in a time.
	Rate Rate
}

// Generation is a configuration's say in delivery, held for one attempt.
type Generation interface {
	// Stamp tells what routes a configuration has: "<time>-<content>", of which the later time is the
	// newer configuration and the same content means the same routes, whenever it was loaded.
	Stamp() string
	// Route returns where a recipient's message goes. ErrNoRoute when nothing takes it.
	Route(ctx context.Context, e *Entry, r *Recipient) (Route, error)
	// Knows tells whether the lane can still be one of this configuration's.
	Knows(lane string) bool
	// Schedule is how often to try and when to give up, where a route does not say.
	Schedule() Schedule
	// Settings are those of the queue as a whole.
	Settings() Settings
	// Hostname names the server in bounces.
	Hostname(e *Entry) string
}

// LaneExpecter is an optional interface of a Generation that knows its lanes before anything goes there.
type LaneExpecter interface {
	// Expects tells whether one of the routes leads to the lane.
	Expects(lane string) bool
}

// Route is where messages go. Recipients of one lane and schedule go together.
type Route struct {
	Sink Sink
	// Name in the log.
	Name string
	// Lane is <name>/<destination>, and what the destination says of itself.
	Lane        string
	Destination Destination
	// Schedule of this route; nil: the generation's.
	Schedule *Schedule
}

// ErrNoRoute says that no route takes a recipient. It is deferred, not bounced.
var ErrNoRoute = errors.New("no route takes the recipient")

// Settings are the queue's, whatever the route.
type Settings struct {
	// Workers is how many attempts run at once, beside those that have taken more than a second.
	Workers int
	// FirstProbe is the wait before a lane that is down is tried again, which doubles up to LastProbe.
	FirstProbe, LastProbe time.Duration
	// Grace is how long an attempt that cannot be taken back goes on when its configuration is left.
	Grace time.Duration
	// NoFacts: the journal is off.
	NoFacts bool
}

// Host gives the generation in charge. interrupt is closed when that generation must be left: attempts
// that can be taken back end at once. ok is false while nobody is in charge: the queue waits.
type Host interface {
	Acquire() (g Generation, interrupt <-chan struct{}, ok bool)
}
