package app

import (
	"crypto/x509"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// A balancer hears whether messages can be accepted, and in time: a full spool, one that does not answer and a
// certificate that clients refuse are reasons against it.
func TestHealth(t *testing.T) {
	in := newInstance(t)
	var full, silent atomic.Bool
	release := make(chan struct{})
	in.mail.spool.Fault = func(op string, _ *queue.Entry) error {
		if op == "create" && full.Load() {
			return queue.ErrFull
		}
		if op == "create" && silent.Load() {
			<-release
		}
		return nil
	}
	in.load()
	want := func(texts ...string) {
		t.Helper()
		status, body := in.admin(http.MethodGet, "/msa/health", "")
		h := jsonOf[adminapi.Health](t, body)
		if h.Ready != (len(texts) == 0) || h.Ready != (status == http.StatusOK) || len(h.Reasons) != len(texts) {
			t.Errorf("%d %s, want %d reasons", status, body, len(texts))
		}
		for i, text := range texts {
			if !strings.Contains(strings.Join(h.Reasons, "\n"), text) {
				t.Errorf("reason %d: %s has no %q", i, body, text)
			}
		}
	}
	want()
	full.Store(true)
	want("spool: the spool is full")
	in.validity("cert", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, "msa.example.org")
	in.load(withAppField("grace_period", "6s")) // the file is looked at again
	want("spool: the spool is full", "server main: the certificate for msa.example.org has expired on")
	full.Store(false)
	in.validity("cert", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }, "msa.example.org")
	in.load()
	want("is valid from")
	silent.Store(true)
	want("is valid from", "spool: it does not answer")
	close(release)
	if status, _ := in.admin(http.MethodPost, "/msa/health", ""); status != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", status)
	}
}
