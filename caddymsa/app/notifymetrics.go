package app

import (
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
)

// notifyCollector says how far notifiers are behind, on the node that tells.
type notifyCollector struct{}

var (
	notifyLag     = prometheus.NewDesc("caddy_msa_notify_lag_seconds", "Age of the oldest event that a notifier was not told of yet.", []string{"spool", "server", "notifier"}, nil)
	notifyWaiting = prometheus.NewDesc("caddy_msa_notify_waiting", "Events that a notifier was not told of yet.", []string{"spool", "server", "notifier"}, nil)
	notifyAside   = prometheus.NewDesc("caddy_msa_notify_aside", "Messages, or users, whose events a notifier refuses while it takes others.", []string{"spool", "server", "notifier"}, nil)
	notifyUp      = prometheus.NewDesc("caddy_msa_notify_up", "1 while a notifier takes events, as far as is known, and 0 while it does not.", []string{"spool", "server", "notifier"}, nil)
)

// Describe implements prometheus.Collector.
func (notifyCollector) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- notifyLag
	descriptions <- notifyWaiting
	descriptions <- notifyAside
	descriptions <- notifyUp
}

// Collect implements prometheus.Collector.
func (notifyCollector) Collect(values chan<- prometheus.Metric) {
	seen := make(map[string]bool) // one may hand over to the other at this moment
	for _, s := range notifierStatus() {
		id := strings.Join([]string{s.Spool, s.Server, s.Name}, "\x00")
		if !s.Active || seen[id] {
			continue
		}
		seen[id] = true
		gauge := func(d *prometheus.Desc, value float64) {
			values <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, s.Spool, s.Server, s.Name)
		}
		lag, up := 0.0, 1.0
		if s.Oldest != nil {
			lag = max(0, time.Since(*s.Oldest).Seconds())
		}
		if s.Down {
			up = 0
		}
		gauge(notifyLag, lag)
		gauge(notifyWaiting, float64(s.Waiting))
		gauge(notifyAside, float64(s.Aside))
		gauge(notifyUp, up)
	}
}

// notifierStatus is how far all notifiers of this process are.
func notifierStatus() (all []adminapi.Notifier) {
	followings.mu.Lock()
	defer followings.mu.Unlock()
	for f := range followings.all {
		s := f.Status()
		n := adminapi.Notifier{Server: f.c.srv.name, Name: f.c.label, Spool: f.n.store.key, Active: s.Active, Waiting: s.Waiting, Aside: s.Aside, Down: s.Down, Error: s.Error}
		if !s.Oldest.IsZero() {
			n.Oldest = &s.Oldest
		}
		if s.Down {
			n.Next = &s.Next
		}
		all = append(all, n)
	}
	slices.SortFunc(all, func(a, b adminapi.Notifier) int {
		return strings.Compare(a.Server+"\x00"+a.Name+"\x00"+a.Spool, b.Server+"\x00"+b.Name+"\x00"+b.Spool)
	})
	return all
}
