package queue

import (
	"errors"
	"time"
)

// ErrExpired is in the error of a recipient that was given up because of its age.
var ErrExpired = errors.New("delivery time expired")

// permanent marks an error that no retry can mend.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// Permanent marks err as one that trying again cannot mend.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanent{err}
}

// unreachable marks an error that says nothing of the message.
type unreachable struct {
	error
	after time.Duration // that the lane asks for before it is tried again
}

func (u unreachable) Unwrap() error { return u.error }

// Unreachable marks err as evidence about the lane, which every message there would meet: no
// connection, no greeting, TLS or a log-in refused. The queue then tries one message at a time there
// and lets the others wait, until one gets through. It is for the whole of a Delivery: what Deliver
// returns, never for one recipient's Report. Other errors that Deliver returns, such as a connection
// lost in mid-message, are taken as the lane's when messages of two users meet the same.
func Unreachable(err error) error {
	if err == nil {
		return nil
	}
	return unreachable{error: err}
}

// maxAfter is how long a lane can ask to be left alone.
const maxAfter = time.Hour

// UnreachableFor is Unreachable of a lane that asks not to be tried before so much time has passed, up to an hour.
func UnreachableFor(err error, after time.Duration) error {
	if err == nil {
		return nil
	}
	return unreachable{err, min(after, maxAfter)}
}

// askedFor is what an error of UnreachableFor says.
func askedFor(err error) time.Duration {
	u, _ := errors.AsType[unreachable](err)
	return u.after
}

// IsUnreachable tells whether err was marked so.
func IsUnreachable(err error) bool { return errors.As(err, new(unreachable)) }
