//go:build linux

package authhttp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

// BenchmarkLogin is a login each, one after the other and many at a time, over TLS with client
// certificates, a token and a signature: with a service that does nothing, which shows what asking
// costs, and with the one in Python.
func BenchmarkLogin(b *testing.B) {
	srv := startService(b, people())
	quick := quickService(b, srv)
	for _, c := range []struct {
		name, url, password string
		change              func(*HTTP)
	}{
		{"verify", quick, "s3cret", func(*HTTP) {}},
		{"wrong", quick, "wrong", func(*HTTP) {}},
		{"cached", quick, "s3cret", func(h *HTTP) { h.Cache = conf.Duration(time.Hour) }},
		{"credentials", quick, "s3cret", func(h *HTTP) { h.Credentials, h.Decoy = true, []string{"PLAIN"} }},
		{"python", "", "s3cret", func(*HTTP) {}},
	} {
		settings := srv.settings()
		if c.change(&settings); c.url != "" {
			settings.URL = c.url
		}
		login := func(b *testing.B, h *HTTP) {
			if _, err := h.VerifyPassword(context.Background(), peer, "alice@example.org", c.password); isRefusal(err) != (c.password == "wrong") || err != nil && !isRefusal(err) {
				b.Error(err)
			}
		}
		b.Run(c.name, func(b *testing.B) {
			h := must(b, settings)
			for b.Loop() {
				login(b, h)
			}
		})
		b.Run(c.name+"-parallel", func(b *testing.B) {
			h := must(b, settings)
			b.SetParallelism(16)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					login(b, h)
				}
			})
		})
	}
}

// quickService is in this process and answers at once.
func quickService(b *testing.B, certificates *pyService) string {
	b.Helper()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q question
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			b.Error(err)
		}
		w.Header().Set("Content-Type", "application/json")
		switch {
		case q.Action == actionCredentials:
			_, _ = io.WriteString(w, `{"ok":true,"password":"{PLAIN}s3cret"}`)
		case q.Action == actionVerify && q.secret() != "s3cret":
			_, _ = io.WriteString(w, `{"ok":false}`)
		default:
			_, _ = io.WriteString(w, `{"ok":true,"fingerprint":"1"}`)
		}
	}))
	pair, err := tls.LoadX509KeyPair(certificates.path("server.pem"), certificates.path("server.key"))
	if err != nil {
		b.Fatal(err)
	}
	ca, err := os.ReadFile(certificates.path("ca.pem"))
	if err != nil {
		b.Fatal(err)
	}
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: x509.NewCertPool()}
	srv.TLS.ClientCAs.AppendCertsFromPEM(ca)
	srv.StartTLS()
	b.Cleanup(srv.Close)
	return "https://localhost:" + srv.URL[len("https://127.0.0.1:"):] + "/msa"
}
