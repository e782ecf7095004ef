package app

import (
	"crypto/x509"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// certificateCheckInterval is how often the log is told again of a certificate that clients refuse.
const certificateCheckInterval = 24 * time.Hour

// check warns of certificates that clients will refuse. They are used all the same: a client may have
// been told to take them, and a server that does not start tells nobody.
func (c *certificateFiles) check(now time.Time) {
	certs := *c.certs.Load()
	named := false
	for i := range certs {
		named = named || certs[i].Leaf.VerifyHostname(c.defaultName) == nil
	}
	for i := range certs {
		leaf := certs[i].Leaf
		var wrong []string
		if now.Before(leaf.NotBefore) {
			wrong = append(wrong, "is not valid yet")
		}
		if now.After(leaf.NotAfter) {
			wrong = append(wrong, "has expired")
		}
		if !named {
			wrong = append(wrong, "is not for "+c.defaultName)
		}
		if len(wrong) > 0 {
			c.log.Warn("the certificate "+strings.Join(wrong, " and ")+"; clients that check it will not connect", zap.String("certificate", c.files[i].Certificate),
				zap.Strings("names", certificateNames(leaf)), zap.Time("not_before", leaf.NotBefore), zap.Time("not_after", leaf.NotAfter))
		}
	}
}

// certificateNames are the names that clients look at.
func certificateNames(leaf *x509.Certificate) []string {
	names := append([]string{}, leaf.DNSNames...)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 && leaf.Subject.CommonName != "" {
		names = append(names, fmt.Sprintf("%s (common name only)", leaf.Subject.CommonName))
	}
	return names
}

// checkDaily checks again until stop is closed.
func (c *certificateFiles) checkDaily(stop <-chan struct{}) {
	ticker := time.NewTicker(certificateCheckInterval)
	defer ticker.Stop()
	for {
		select {
		case now := <-ticker.C:
			c.check(now)
		case <-stop:
			return
		}
	}
}

// certificateKey is a certificate's labels in metrics.
type certificateKey struct{ server, file string }

// inUse has the certificate files of the configurations; the newest counts.
var inUse = struct {
	sync.Mutex
	files map[certificateKey]*certificateFiles
}{files: make(map[certificateKey]*certificateFiles)}

func (c *certificateFiles) publish() {
	inUse.Lock()
	defer inUse.Unlock()
	for _, f := range c.files {
		inUse.files[certificateKey{c.server, f.Certificate}] = c
	}
}

func (c *certificateFiles) unpublish() {
	inUse.Lock()
	defer inUse.Unlock()
	for _, f := range c.files {
		if k := (certificateKey{c.server, f.Certificate}); inUse.files[k] == c {
			delete(inUse.files, k)
		}
	}
}

// expiry is when a file's certificate ends.
func (c *certificateFiles) expiry(file string) (time.Time, bool) {
	for i, cert := range *c.certs.Load() {
		if c.files[i].Certificate == file {
			return cert.Leaf.NotAfter, true
		}
	}
	return time.Time{}, false
}

// certificateCollector says how long the certificates of files are still valid.
type certificateCollector struct{}

var certificateExpiry = prometheus.NewDesc("caddy_msa_certificate_expiry_seconds", "Seconds until the certificate of a file expires; negative when it has.", []string{"server", "certificate"}, nil)

// Describe implements prometheus.Collector.
func (certificateCollector) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- certificateExpiry
}

// Collect implements prometheus.Collector.
func (certificateCollector) Collect(values chan<- prometheus.Metric) {
	inUse.Lock()
	defer inUse.Unlock()
	for k, c := range inUse.files {
		if end, ok := c.expiry(k.file); ok {
			values <- prometheus.MustNewConstMetric(certificateExpiry, prometheus.GaugeValue, time.Until(end).Seconds(), k.server, k.file)
		}
	}
}
