package app

import (
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/logroom"
)

// logAccepted writes the line of a message that was accepted. Its fields are not made where nobody writes it: this is on
// the way of each message (row "log" of the benchmark).
func (t *transaction) logAccepted(srv *Server, what, id string) {
	if line := srv.log.Check(zap.InfoLevel, what); line != nil {
		room := logroom.Take()
		room.Write(line, append(t.s.appendFields(t.access(room.Fields)), zap.String(fieldQueueID, id)))
	}
}

// access appends the fields of the one line that there is of a message which came whole, besides those of the session: all
// that it may be looked for by.
func (t *transaction) access(f []zap.Field) []zap.Field {
	e := t.sub.Entry
	f = append(t.appendFields(f), zap.Int(fieldRcptCount, len(e.Recipients)), zap.String(fieldMechanism, e.Mechanism), zap.String(fieldHelo, e.Helo), zap.String(fieldTLS, e.TLS),
		zap.Duration(fieldDuration, time.Since(t.began)), zap.Strings(fieldRoutes, t.routeNames()))
	if t.head.id != "" {
		f = append(f, zap.String(fieldMessageID, t.head.id))
	}
	if did := trailOf(t.sub).did(); did != nil {
		f = append(f, zap.Strings(fieldPolicies, did))
	}
	if t.sub.Held != "" {
		f = append(f, zap.String(fieldHeld, t.sub.Held))
	}
	if e.Priority != 0 {
		f = append(f, zap.Int(fieldPriority, e.Priority))
	}
	if id := t.traceID(); id != "" {
		f = append(f, zap.String(fieldTraceID, id))
	}
	return f
}

// routeNames are where the recipients go, each once.
func (t *transaction) routeNames() (names []string) {
	for _, r := range t.routes {
		if !slices.Contains(names, r.name) {
			names = append(names, r.name)
		}
	}
	return names
}
