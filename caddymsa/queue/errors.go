package queue

import "errors"

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
type unreachable struct{ error }

func (u unreachable) Unwrap() error { return u.error }

// Unreachable marks err as the destination's state, which every message to it would meet: no
// connection, no answer, a log-in refused, 421. The queue then tries one message at a time there
// and lets the others wait, without counting an attempt, until one gets through. It is for the whole
// of a Delivery: what Deliver returns, never for one recipient's Report.
func Unreachable(err error) error {
	if err == nil {
		return nil
	}
	return unreachable{err}
}

// IsUnreachable tells whether err was marked so.
func IsUnreachable(err error) bool { return errors.As(err, new(unreachable)) }
