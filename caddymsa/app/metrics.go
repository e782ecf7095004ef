package app

import (
	"context"
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-msa/caddy-msa/caddymsa/app/certs"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// metrics are made once a process, so that they survive reloads; each
// configuration's registry gets them. No label is a user, an address or an id.
var metrics = struct {
	connections, refusedConnections, auth, authFailures, messages, refusals, acceptedOctets, attempts, copiesFailed, notified *prometheus.CounterVec

	openSessions   *prometheus.GaugeVec
	attemptSeconds *prometheus.HistogramVec
}{
	connections:        counter("connections_total", "Connections accepted.", "server"),
	refusedConnections: counter("connections_refused_total", "Connections refused, by the limit that they were over.", "server", "limit"),
	auth:               counter("auth_total", "AUTH exchanges: ok, refused, blocked, busy or cannot_tell.", "server", "mechanism", "result"),
	authFailures:       counter("auth_backend_failures_total", "Questions that a backend could not answer.", "server", "backend"),
	messages:           counter("messages_total", "Messages at the end of data: accepted or refused.", "server", "result"),
	refusals:           counter("refusals_total", "Commands and messages that a client was refused, by the moment (MAIL, RCPT, DATA, BDAT, AUTH, EHLO or HELO) and the client: user or stranger.", "server", "moment", "client"),
	acceptedOctets:     counter("accepted_octets_total", "Octets of accepted messages.", "server"),
	attempts:           counter("delivery_attempts_total", "Recipients of delivery attempts, by outcome.", "route", "outcome"),
	copiesFailed:       counter("copies_failed_total", "Copies that were given up: refused for good, or expired.", "copy"),
	notified:           counter("notify_events_total", "Attempts to tell a notifier of an event: told, failed (it is tried again) or given_up.", "server", "notifier", "result"),
	openSessions: prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "caddy", Subsystem: "msa", Name: "sessions",
		Help: "Sessions that are open."}, []string{"server"}),
	attemptSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "caddy", Subsystem: "msa", Name: "delivery_attempt_seconds",
		Help: "Duration of delivery attempts.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 9)}, []string{"route"}),
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "caddy", Subsystem: "msa", Name: name, Help: help}, labels)
}

// spoolCollector says how much lies in the spools that are open.
type spoolCollector struct{}

var (
	spoolMessages = prometheus.NewDesc("caddy_msa_spool_messages", "Messages in the spool, those that are held or dead letters included.", []string{"spool"}, nil)
	spoolDamaged  = prometheus.NewDesc("caddy_msa_spool_damaged_messages", "Messages of the spool that cannot be read whole, those that were set aside included.", []string{"spool"}, nil)
	spoolDraining = prometheus.NewDesc("caddy_msa_spool_draining_messages", "Messages left in a spool that a former configuration used.", []string{"spool"}, nil)
	laneWaiting   = prometheus.NewDesc("caddy_msa_queue_waiting", "Jobs that wait, by the route of their lanes.", []string{"spool", "route"}, nil)
	lanesByState  = prometheus.NewDesc("caddy_msa_queue_lanes", "Lanes that have jobs or are not up, by state.", []string{"spool", "state"}, nil)
	spoolOctets   = prometheus.NewDesc("caddy_msa_spool_octets", "Octets of the messages in the spool.", []string{"spool"}, nil)
)

// Describe implements prometheus.Collector.
func (spoolCollector) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- spoolMessages
	descriptions <- spoolOctets
	descriptions <- spoolDamaged
	descriptions <- spoolDraining
	descriptions <- laneWaiting
	descriptions <- lanesByState
}

// Collect implements prometheus.Collector.
func (spoolCollector) Collect(values chan<- prometheus.Metric) {
	stores.Range(func(key, v any) bool {
		s, ok := v.(*store)
		if !ok {
			return true
		}
		if messages, octets, err := queue.Guard(s.spool, s.log).Size(context.Background()); err == nil {
			values <- prometheus.MustNewConstMetric(spoolMessages, prometheus.GaugeValue, float64(messages), key.(string))
			values <- prometheus.MustNewConstMetric(spoolOctets, prometheus.GaugeValue, float64(octets), key.(string))
			if d, ok := s.spool.(queue.DamageCounter); ok {
				_ = queue.Guarded(s.log, func() error {
					values <- prometheus.MustNewConstMetric(spoolDamaged, prometheus.GaugeValue, float64(d.Damaged()), key.(string))
					return nil
				})
			}
			if s.draining() {
				values <- prometheus.MustNewConstMetric(spoolDraining, prometheus.GaugeValue, float64(messages), key.(string))
			}
			s.collectLanes(values)
		}
		return true
	})
}

// registerMetrics gives a configuration's registry the process's collectors.
func registerMetrics(reg *prometheus.Registry) error {
	for _, c := range []prometheus.Collector{metrics.connections, metrics.refusedConnections, metrics.auth, metrics.authFailures, metrics.messages, metrics.refusals,
		metrics.acceptedOctets, metrics.attempts, metrics.notified, notifyCollector{}, metrics.copiesFailed, metrics.openSessions, metrics.attemptSeconds, spoolCollector{}, certs.Collector{}} {
		var already prometheus.AlreadyRegisteredError
		if err := reg.Register(c); err != nil && !errors.As(err, &already) {
			return err
		}
	}
	return nil
}
