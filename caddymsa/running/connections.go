package running

import (
	"crypto/tls"
	"net"
)

// Connections takes connections that something else has accepted.
type Connections interface {
	// ServeConn runs a client's session from here to its end, and closes the connection. What the server does with
	// those that it accepts itself holds: limits, time-outs, and that nothing is honoured in clear text but the four
	// commands before TLS. The session outlives the configuration that it began with.
	ServeConn(c Handed)
}

// Handed is a connection that is handed over.
type Handed struct {
	net.Conn
	// TLS is the state of the handshake that was made on Conn; nil where there was none.
	TLS *tls.ConnectionState
	// Implicit says that the client begins with a handshake (RFC 8314), which is left to the server. Without it,
	// and without TLS, the client speaks in clear text and TLS begins with STARTTLS.
	Implicit bool
}
