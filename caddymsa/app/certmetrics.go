package app

import (
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-msa/caddy-msa/caddymsa/app/certs"
)

// managedCertificates says how long the certificates that Caddy obtains are still valid, as certs.Collector does of files.
type managedCertificates struct{}

// managed is the label of a certificate that no file of ours has.
const managed = "managed"

// Describe implements prometheus.Collector: certs.Collector describes the metric.
func (managedCertificates) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector. A server without a certificate has one that expired now: nobody can connect.
func (managedCertificates) Collect(values chan<- prometheus.Metric) {
	seen := make(map[string]bool)
	stores.Range(func(_, v any) bool {
		s, ok := v.(*store)
		if !ok {
			return true
		}
		d := s.generations.top()
		if d == nil || d.former {
			return true
		}
		for name, srv := range d.app.Servers {
			if srv.manage && !seen[name] {
				seen[name] = true
				values <- prometheus.MustNewConstMetric(certs.ExpirySeconds, prometheus.GaugeValue, srv.certificateLeft().Seconds(), name, managed)
			}
		}
		return true
	})
}

// certificateLeft is how long the certificate for the hostname is valid, the latest of them if there are several.
func (srv *Server) certificateLeft() time.Duration {
	var end time.Time
	for _, c := range caddytls.AllMatchingCertificates(srv.Hostname) {
		if c.Leaf != nil && c.Leaf.NotAfter.After(end) {
			end = c.Leaf.NotAfter
		}
	}
	if end.IsZero() {
		return 0
	}
	return time.Until(end)
}
