package app

import (
	"crypto/tls"

	"github.com/prometheus/client_golang/prometheus"
)

// States of a session, for the metric.
const (
	stateClear       = "clear"
	stateTLS         = "tls"
	stateIdle        = "idle"
	stateTransaction = "transaction"
)

// endRequest is why the session of a request of a web site ends.
const endRequest = "request"

// standing is the state in which a session is counted.
type standing struct {
	server string
	in     prometheus.Gauge // nil where it is not counted
}

func (s *standing) begin(server string) {
	s.server, s.in = server, metrics.sessions.WithLabelValues(server, stateClear)
	s.in.Inc()
}

// set counts the session in another state.
func (s *standing) set(state string) {
	if s.in == nil {
		return
	}
	s.in.Dec()
	s.in = metrics.sessions.WithLabelValues(s.server, state)
	s.in.Inc()
}

func (s *standing) end(reason string) {
	if s.in == nil {
		return
	}
	s.in.Dec()
	s.in = nil
	metrics.sessionsEnded.WithLabelValues(s.server, reason).Inc()
}

// Secured implements smtpd.Securer.
func (s *session) Secured(err error) {
	if err != nil {
		metrics.handshakes.WithLabelValues(s.standing.server, "", "", "failed").Inc()
		return
	}
	state := s.client.TLS()
	metrics.handshakes.WithLabelValues(s.standing.server, tls.VersionName(state.Version), suiteName(state.CipherSuite), "ok").Inc()
	s.standing.set(stateTLS)
}
