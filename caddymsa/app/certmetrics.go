package app

import (
	"crypto/x509"

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
				certs.Measure(values, srv.managedLeaf(), name, managed)
			}
		}
		return true
	})
}

// managedLeaf is the certificate for the hostname, the one that is valid longest if there are several; nil if there is none.
func (srv *Server) managedLeaf() (leaf *x509.Certificate) {
	for _, c := range caddytls.AllMatchingCertificates(srv.Hostname) {
		if c.Leaf != nil && (leaf == nil || c.Leaf.NotAfter.After(leaf.NotAfter)) {
			leaf = c.Leaf
		}
	}
	return leaf
}
