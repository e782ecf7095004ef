package certs

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// checkInterval is how often the log is told again of a certificate that clients refuse.
const checkInterval = 24 * time.Hour

// check warns of certificates that clients will refuse. They are used all the same: a client may have
// been told to take them, and a server that does not start tells nobody.
func (c *Set) check(now time.Time) {
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
		if len(leaf.Raw) > 0 {
			wrong = append(wrong, unusable(certs[i])...)
		}
		if name := expiredIssuer(certs[i], now); name != "" {
			wrong = append(wrong, "comes with the certificate of its issuer "+name+", which has expired")
		}
		if len(wrong) > 0 {
			c.log.Warn("the certificate "+strings.Join(wrong, " and ")+"; clients that check it will not connect", zap.String("certificate", c.files[i].Certificate),
				zap.Strings("names", namesOf(leaf)), zap.Time("not_before", leaf.NotBefore), zap.Time("not_after", leaf.NotAfter))
		}
	}
}

// expiredIssuer names the first of the certificates behind the server's own that has expired.
func expiredIssuer(cert *tls.Certificate, now time.Time) string {
	for i, der := range cert.Certificate {
		if issuer, err := x509.ParseCertificate(der); i > 0 && err == nil && now.After(issuer.NotAfter) {
			return fmt.Sprintf("%q", issuer.Subject.String())
		}
	}
	return ""
}

// namesOf are the names that clients look at.
func namesOf(leaf *x509.Certificate) []string {
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
func (c *Set) checkDaily(stop <-chan struct{}) {
	ticker := time.NewTicker(checkInterval)
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

// fileKey is a certificate's labels in metrics.
type fileKey struct{ server, file string }

// inUse has the certificate files of the configurations, the newest last: that counts, and if it does not come into force,
// the one before does again.
var inUse = struct {
	sync.Mutex
	files map[fileKey][]*Set
}{files: make(map[fileKey][]*Set)}

func (c *Set) publish() {
	inUse.Lock()
	defer inUse.Unlock()
	for _, f := range c.files {
		k := fileKey{c.server, f.Certificate}
		inUse.files[k] = append(inUse.files[k], c)
	}
}

func (c *Set) unpublish() {
	inUse.Lock()
	defer inUse.Unlock()
	for _, f := range c.files {
		k := fileKey{c.server, f.Certificate}
		if inUse.files[k] = slices.DeleteFunc(inUse.files[k], func(s *Set) bool { return s == c }); len(inUse.files[k]) == 0 {
			delete(inUse.files, k)
		}
	}
}

// leaf is a file's certificate.
func (c *Set) leaf(file string) *x509.Certificate {
	for i, cert := range *c.certs.Load() {
		if c.files[i].Certificate == file {
			return cert.Leaf
		}
	}
	return nil
}

// Collector says how long the certificates of files are still valid.
type Collector struct{}

var (
	expirySeconds = prometheus.NewDesc("caddy_msa_certificate_expiry_seconds", "Seconds until a certificate expires, of a file or managed by Caddy; negative when it has.",
		[]string{"server", "certificate"}, nil)
	lifetimeSeconds = prometheus.NewDesc("caddy_msa_certificate_lifetime_seconds", "For how many seconds in all a certificate is valid.", []string{"server", "certificate"}, nil)
)

// Measure makes the metrics of a server's certificate; nil is one that there is not, which has expired.
func Measure(values chan<- prometheus.Metric, leaf *x509.Certificate, server, name string) {
	left, lifetime := 0.0, 0.0
	if leaf != nil {
		left, lifetime = time.Until(leaf.NotAfter).Seconds(), leaf.NotAfter.Sub(leaf.NotBefore).Seconds()
	}
	values <- prometheus.MustNewConstMetric(expirySeconds, prometheus.GaugeValue, left, server, name)
	values <- prometheus.MustNewConstMetric(lifetimeSeconds, prometheus.GaugeValue, lifetime, server, name)
}

// Describe implements prometheus.Collector.
func (Collector) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- expirySeconds
	descriptions <- lifetimeSeconds
}

// Collect implements prometheus.Collector.
func (Collector) Collect(values chan<- prometheus.Metric) {
	inUse.Lock()
	defer inUse.Unlock()
	for k, all := range inUse.files {
		if leaf := all[len(all)-1].leaf(k.file); leaf != nil {
			Measure(values, leaf, k.server, k.file)
		}
	}
}
