package notify

import (
	"errors"
	"time"
)

// RefusedError says that the receiver does not take this event, and nothing of others: they are told meanwhile.
type RefusedError struct{ Cause error }

func (e *RefusedError) Error() string { return e.Cause.Error() }
func (e *RefusedError) Unwrap() error { return e.Cause }

// UnreachableError says that the receiver was not reached: nothing of the event is at fault. Of any other error it is found out
// whether the receiver takes other events.
type UnreachableError struct{ Cause error }

func (e *UnreachableError) Error() string { return e.Cause.Error() }
func (e *UnreachableError) Unwrap() error { return e.Cause }

// LaterError says that the receiver wants to be left alone for some time.
type LaterError struct {
	Cause error
	After time.Duration
}

func (e *LaterError) Error() string { return e.Cause.Error() }
func (e *LaterError) Unwrap() error { return e.Cause }

// failure is what an error means for those who wait.
type failure struct {
	refused  bool          // the event
	receiver bool          // it is the receiver, whatever the event
	after    time.Duration // that it asks for
}

// longestWish is how long a receiver is left alone at most because it says so.
const longestWish = time.Hour

func failureOf(err error) failure {
	_, refused := errors.AsType[*RefusedError](err)
	_, unreachable := errors.AsType[*UnreachableError](err)
	f := failure{refused: refused, receiver: unreachable}
	if later, ok := errors.AsType[*LaterError](err); ok {
		f = failure{receiver: true, after: min(max(later.After, 0), longestWish)}
	}
	return f
}
