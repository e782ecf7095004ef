package nexthop

import (
	"errors"
	"io"
	"syscall"
)

// approach is how a connection is begun. Each that fails in a way that another one may not is learned from.
type approach struct {
	mode    string   // of TLS
	helo    bool     // with HELO
	refused bool     // the hop has refused EHLO
	hungUp  bool     // it has hung up on it
	without []string // mechanisms that the hop has refused
}

var (
	// errTLS says that TLS could not be had from a hop that offered it.
	errTLS = errors.New("TLS")
	// errHello says that a hop that might do with HELO has hung up on EHLO.
	errHello = errors.New("the next hop has hung up")
)

// hungUpError is a hop that has refused mechanisms and then hung up, before it heard of the next one.
type hungUpError struct {
	error
	refused []string
}

func (e *hungUpError) Unwrap() error { return e.error }

// guessed tells whether HELO is said without a word of the hop's that it knows no EHLO.
func (a *approach) guessed() bool { return a.helo && !a.refused }

// isClosed tells whether the other side has closed the connection.
func isClosed(err error) bool {
	for _, closed := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, closed) {
			return true
		}
	}
	return false
}

// learn changes the approach after an error; false if there is no other. It comes to an end: nothing is taken back.
func (a *approach) learn(err error) bool {
	hungUp, ok := errors.AsType[*hungUpError](err)
	switch {
	case a.mode == TLSOpportunistic && errors.Is(err, errTLS):
		// Worse than a certificate that means nothing would be no delivery (RFC 7435 section 3).
		a.mode = TLSOff
	case !a.helo && errors.Is(err, errHello):
		// Once may be anything; and a guess costs what the hop has offered.
		a.helo, a.hungUp = a.refused || a.hungUp, true
	case ok:
		a.without = hungUp.refused
	default:
		return false
	}
	return true
}
