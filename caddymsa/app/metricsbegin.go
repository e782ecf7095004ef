package app

import (
	"github.com/caddy-msa/caddy-msa/caddymsa/dsn"
	"github.com/caddy-msa/caddy-msa/caddymsa/notify"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// maxRoutesAtZero is for how many routes there are series before anything goes there: each route has some forty.
const maxRoutesAtZero = 100

// beginMetrics has the counters of what the configuration names begin at 0. To Prometheus a series that appears with 1 has
// never risen: an alert on what happens once, such as a copy that is lost, would not fire.
func (srv *Server) beginMetrics() {
	m, name := &metrics, srv.name
	m.connections.WithLabelValues(name)
	for _, limit := range []string{"connections", "connections_per_ip", "unauthenticated_per_ip"} {
		m.refusedConnections.WithLabelValues(name, limit)
	}
	for _, state := range []string{stateClear, stateTLS, stateIdle, stateTransaction} {
		m.sessions.WithLabelValues(name, state)
	}
	m.handshakes.WithLabelValues(name, "", "", "failed")
	for _, mechanism := range srv.Auth.offered() {
		for _, result := range []string{"ok", "wrong", "unknown", "refused", "blocked", "cannot_tell"} {
			m.auth.WithLabelValues(name, mechanism, result)
		}
	}
	for _, b := range srv.Auth.backends {
		m.authFailures.WithLabelValues(name, b.id)
	}
	for _, result := range []string{"accepted", "refused"} {
		m.messages.WithLabelValues(name, result)
	}
	m.acceptedOctets.WithLabelValues(name)
	for _, action := range []dsn.Action{dsn.Failed, dsn.Delayed, dsn.Delivered, dsn.Relayed} {
		m.notifications.WithLabelValues(name, string(action))
	}
	m.untold.WithLabelValues(name)
	for _, c := range srv.Notify {
		for _, result := range []notify.Result{notify.Told, notify.Failed, notify.GivenUp} {
			m.notified.WithLabelValues(name, c.label, string(result))
		}
	}
	if len(srv.Routes) <= maxRoutesAtZero {
		for _, r := range srv.Routes {
			kind := "route"
			if r.Unqueued != nil {
				kind = "unqueued"
			}
			beginRoute(r.name, kind)
		}
	}
	if srv.Bounces != nil {
		beginRoute(srv.Bounces.name, "bounce")
	}
	for _, c := range srv.Copies {
		m.copiesFailed.WithLabelValues(c.route.name)
		beginRoute(c.route.name, "copy")
	}
}

func beginRoute(route, kind string) {
	m := &metrics
	for _, outcome := range []queue.Outcome{queue.OutcomeDelivered, queue.OutcomeDeferred, queue.OutcomeFailed} {
		m.attempts.WithLabelValues(route, kind, string(outcome))
	}
	m.attemptSeconds.WithLabelValues(route)
	m.deliverySeconds.WithLabelValues(route, kind)
	m.expired.WithLabelValues(route, kind)
}
