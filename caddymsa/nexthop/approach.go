package nexthop

import "errors"

// approach is how a connection is begun. Each that fails in a way that another one may not is learned from.
type approach struct {
	mode    string   // of TLS
	helo    bool     // with HELO: the hop has hung up on EHLO
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

// learn changes the approach after an error; false if there is no other. It comes to an end: nothing is taken back.
func (a *approach) learn(err error) bool {
	hungUp, ok := errors.AsType[*hungUpError](err)
	switch {
	case a.mode == TLSOpportunistic && errors.Is(err, errTLS):
		// Worse than a certificate that means nothing would be no delivery (RFC 7435 section 3).
		a.mode = TLSOff
	case !a.helo && errors.Is(err, errHello):
		a.helo = true
	case ok:
		a.without = hungUp.refused
	default:
		return false
	}
	return true
}
