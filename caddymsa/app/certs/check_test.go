package certs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	logged "go.uber.org/zap/zaptest/observer"
)

func certificateOf(from, to time.Time, names ...string) *tls.Certificate {
	return &tls.Certificate{Leaf: &x509.Certificate{NotBefore: from, NotAfter: to, DNSNames: names}}
}

// A certificate that clients will refuse is a warning that names file, names and dates, and again
// every day.
func TestCertificateWarnings(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	for want, certs := range map[string][]*tls.Certificate{
		"":                            {certificateOf(now.Add(-day), now.Add(day), "msa.example.org")},
		"has expired":                 {certificateOf(now.Add(-2*day), now.Add(-day), "msa.example.org")},
		"is not valid yet":            {certificateOf(now.Add(day), now.Add(2*day), "msa.example.org")},
		"is not for msa.example.org":  {certificateOf(now.Add(-day), now.Add(day), "other.example.org")},
		"has expired and is not for ": {certificateOf(now.Add(-2*day), now.Add(-day), "other.example.org")},
	} {
		core, logs := logged.New(zap.WarnLevel)
		c := &Set{files: []Files{{Certificate: "cert.pem"}}, defaultName: "msa.example.org", log: zap.New(core)}
		c.certs.Store(&certs)
		c.check(now)
		if want == "" && logs.Len() == 0 {
			continue
		}
		if logs.Len() != 1 || want == "" || !strings.Contains(logs.All()[0].Message, want) {
			t.Errorf("%q: %v", want, logs.All())
			continue
		}
		fields := logs.All()[0].ContextMap()
		if fields["certificate"] != "cert.pem" || fields["names"] == nil || fields["not_after"] == nil {
			t.Errorf("%q: %v", want, fields)
		}
	}
	// One of several for the hostname will do: the others are for those who ask for them.
	core, logs := logged.New(zap.WarnLevel)
	certs := []*tls.Certificate{certificateOf(now.Add(-day), now.Add(day), "other.example.org"), certificateOf(now.Add(-day), now.Add(day), "*.example.org")}
	c := &Set{files: make([]Files, 2), defaultName: "msa.example.org", log: zap.New(core)}
	c.certs.Store(&certs)
	if c.check(now); logs.Len() != 0 {
		t.Error(logs.All())
	}
}

func TestCertificateWarningsDaily(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := logged.New(zap.WarnLevel)
		c := &Set{files: []Files{{Certificate: "cert.pem"}}, defaultName: "msa.example.org", log: zap.New(core), server: "s"}
		certs := []*tls.Certificate{certificateOf(time.Now(), time.Now().Add(36*time.Hour), "msa.example.org")}
		c.certs.Store(&certs)
		stop := make(chan struct{})
		go c.checkDaily(stop)
		time.Sleep(25 * time.Hour)
		if synctest.Wait(); logs.Len() != 0 {
			t.Error("a warning of a good certificate")
		}
		time.Sleep(48 * time.Hour)
		if synctest.Wait(); logs.Len() != 2 {
			t.Errorf("%d warnings in two days", logs.Len())
		}
		close(stop)
	})
}

func TestCertificateMetric(t *testing.T) {
	c := &Set{files: []Files{{Certificate: "metric.pem"}}, server: "metric.example.org"}
	certs := []*tls.Certificate{certificateOf(time.Now(), time.Now().Add(time.Hour), "x")}
	c.certs.Store(&certs)
	c.publish()
	defer c.unpublish()
	newer := &Set{files: c.files, server: c.server}
	newer.certs.Store(&certs)
	newer.publish()
	c.unpublish() // the older one's end leaves the newer
	reg := prometheus.NewRegistry()
	reg.MustRegister(Collector{})
	families, err := reg.Gather()
	if err != nil || len(families) != 2 || families[0].GetName() != "caddy_msa_certificate_expiry_seconds" || families[1].GetName() != "caddy_msa_certificate_lifetime_seconds" {
		t.Fatal(families, err)
	}
	for _, f := range families {
		if v := f.Metric[0].GetGauge().GetValue(); v < 3500 || v > 3601 {
			t.Error(f.GetName(), v)
		}
	}
	failed := &Set{files: []Files{c.files[0], c.files[0]}, server: c.server} // of a configuration that does not come into force
	failed.certs.Store(&certs)
	failed.publish()
	failed.unpublish()
	if families, err := reg.Gather(); err != nil || len(families) != 2 {
		t.Error("after a failed reload:", families, err)
	}
	newer.unpublish()
	if families, _ := reg.Gather(); len(families) != 0 {
		t.Error(families)
	}
}

// A chain is as good as its shortest-lived certificate.
func TestExpiredIssuer(t *testing.T) {
	own, _ := certificatePEM(t, 1)
	block, _ := pem.Decode(own) // its times are zero: expired
	core, logs := logged.New(zap.WarnLevel)
	now := time.Now()
	c := &Set{files: []Files{{Certificate: "cert.pem"}}, defaultName: "msa.example.org", log: zap.New(core)}
	cert := certificateOf(now.Add(-time.Hour), now.Add(time.Hour), "msa.example.org")
	cert.Certificate = [][]byte{block.Bytes, block.Bytes}
	c.certs.Store(&[]*tls.Certificate{cert})
	if c.check(now); logs.Len() != 1 || !strings.Contains(logs.All()[0].Message, "issuer") {
		t.Error(logs.All())
	}
}
