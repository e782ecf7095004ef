package app

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-msa/caddy-msa/caddymsa/app/certs"
)

// metrics are made once a process, so that they survive reloads; each
// configuration's registry gets them. No label is a user, an address or an id, and
// what comes from elsewhere is bounded (bounded). docs/metrics.md has them all.
var metrics = struct {
	connections, refusedConnections, sessionsEnded, handshakes, auth, authFailures, messages, refusals, acceptedOctets,
	attempts, expired, copiesFailed, notifications, untold, notified *prometheus.CounterVec

	sessions                        *prometheus.GaugeVec
	attemptSeconds, deliverySeconds *prometheus.HistogramVec
}{
	connections:        counter("connections_total", "Connections accepted.", "server"),
	refusedConnections: counter("connections_refused_total", "Connections refused, by the limit that they were over.", "server", "limit"),
	sessions: prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "caddy", Subsystem: "msa", Name: "sessions",
		Help: "Sessions that are open, by state: clear (before TLS), tls (before AUTH), idle (between messages) or transaction."}, []string{"server", "state"}),
	sessionsEnded:  counter("sessions_ended_total", "Sessions that have ended, by reason: quit, lost, timeout, tls and so on.", "server", "reason"),
	handshakes:     counter("tls_handshakes_total", "TLS handshakes with clients, by version and cipher suite; both are empty for those that failed.", "server", "version", "cipher", "result"),
	auth:           counter("auth_total", "AUTH exchanges: ok, wrong, unknown, disabled, address, expired, no_credential, refused (the backend does not say why), malformed, blocked, busy or cannot_tell.", "server", "mechanism", "result"),
	authFailures:   counter("auth_backend_failures_total", "Questions that a backend could not answer.", "server", "backend"),
	messages:       counter("messages_total", "Messages at the end of data: accepted, accepted_before or refused.", "server", "result"),
	refusals:       counter("refusals_total", "Commands and messages that a client was refused, by the moment (MAIL, RCPT, DATA, BDAT, AUTH, EHLO or HELO), the client (user or stranger), the policy and its rule, and the class of the reply (4 or 5).", "server", "moment", "client", "policy", "rule", "class"),
	acceptedOctets: counter("accepted_octets_total", "Octets of accepted messages.", "server"),

	attempts:       counter("delivery_attempts_total", "Recipients of delivery attempts, by outcome: delivered, deferred, failed or interrupted. The kind of the lane is route, bounce, copy or unqueued.", "route", "kind", "outcome"),
	attemptSeconds: histogram("delivery_attempt_seconds", "Duration of delivery attempts.", prometheus.ExponentialBuckets(0.001, 4, 9), "route"),
	deliverySeconds: histogram("delivery_seconds", "Time from acceptance to delivery, of each recipient.",
		[]float64{0.01, 0.05, 0.25, 1, 5, 30, 60, 300, 1800, 7200, 28800, 86400, 432000}, "route", "kind"),
	expired:       counter("expired_recipients_total", "Recipients that were given up because their time was over.", "route", "kind"),
	copiesFailed:  counter("copies_failed_total", "Copies that were given up: refused for good, or expired.", "copy"),
	notifications: counter("notifications_total", "Notifications to senders: failed (a bounce), delayed, delivered or relayed.", "server", "action"),
	untold:        counter("untold_recipients_total", "Recipients that failed for good of whom nobody is told.", "server"),
	notified:      counter("notify_events_total", "Attempts to tell a notifier of an event: told, failed (it is tried again) or given_up.", "server", "notifier", "result"),
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "caddy", Subsystem: "msa", Name: name, Help: help}, labels)
}

// histogram is one in both forms: the buckets are for servers that do not scrape native ones.
func histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "caddy", Subsystem: "msa", Name: name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: nativeReset}, labels)
}

// collectors are all that a registry gets.
func collectors() []prometheus.Collector {
	m := &metrics
	return []prometheus.Collector{m.connections, m.refusedConnections, m.sessions, m.sessionsEnded, m.handshakes, m.auth, m.authFailures,
		m.messages, m.refusals, m.acceptedOctets, m.attempts, m.attemptSeconds, m.deliverySeconds, m.expired, m.copiesFailed,
		m.notifications, m.untold, m.notified, notifyCollector{}, spoolCollector{}, certs.Collector{}, managedCertificates{}}
}

// registerMetrics gives a configuration's registry the process's collectors.
func registerMetrics(reg *prometheus.Registry) error {
	for _, c := range collectors() {
		var already prometheus.AlreadyRegisteredError
		if err := reg.Register(c); err != nil && !errors.As(err, &already) {
			return err
		}
	}
	return nil
}
