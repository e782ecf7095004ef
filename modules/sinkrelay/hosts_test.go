package sinkrelay

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	gosasl "github.com/emersion/go-sasl"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop/hoptest"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func letter() *queue.Delivery { return msatest.NewDelivery([]byte(text), "bob@example.org") }

// The hosts that are configured are asked one after the other.
func TestFallback(t *testing.T) {
	second := hoptest.New(t, nil)
	r := sink(second, func(r *Relay) { r.Host, r.FallbackHosts = "127.0.0.1:1", []string{second.Addr} })
	if err := r.Deliver(t.Context(), letter()); err != nil || len(second.Messages()) != 1 {
		t.Errorf("%v, %d messages", err, len(second.Messages()))
	}
	r = sink(second, func(r *Relay) { r.Host, r.FallbackHosts = "127.0.0.1:1", []string{"127.0.0.1:2"} })
	err := r.Deliver(t.Context(), letter())
	if !queue.IsUnreachable(err) || !strings.Contains(err.Error(), "127.0.0.1:1") || !strings.Contains(err.Error(), "127.0.0.1:2") {
		t.Error(err)
	}
}

// A client certificate is shown, the one that is in the file at the time.
func TestClientCertificate(t *testing.T) {
	config, root := hoptest.Certificate(t)
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	der, err := x509.MarshalPKCS8PrivateKey(config.Certificates[0].PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	pemOf := func(kind string, b []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}) }
	if err := errors.Join(os.WriteFile(cert, pemOf("CERTIFICATE", config.Certificates[0].Certificate[0]), 0o600), os.WriteFile(key, pemOf("PRIVATE KEY", der), 0o600)); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	rootPEM, _ := os.ReadFile(root)
	pool.AppendCertsFromPEM(rootPEM)
	h := hoptest.New(t, func(h *hoptest.Hop) {
		h.TLS.ClientAuth, h.TLS.ClientCAs = tls.RequireAndVerifyClientCert, pool
	})
	if err := sink(h, nil).Deliver(t.Context(), letter()); err == nil {
		t.Error("it took no certificate")
	}
	if err := sink(h, func(r *Relay) { r.ClientCertificate, r.ClientKey = cert, key }).Deliver(t.Context(), letter()); err != nil {
		t.Error(err)
	}
}

func TestBind(t *testing.T) {
	h := hoptest.New(t, nil)
	if err := sink(h, func(r *Relay) { r.Bind = "127.0.0.2" }).Deliver(t.Context(), letter()); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(h.Clients(), "127.0.0.2") {
		t.Errorf("%q", h.Clients())
	}
}

// A token comes from the provider, is used until it expires or is refused, and is renewed then.
func TestXOAuth2(t *testing.T) {
	var issued atomic.Int64
	var good atomic.Value
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if user != "client" || password != "s3cret" || r.FormValue("grant_type") != "client_credentials" || r.FormValue("scope") != "mail send" || r.FormValue("audience") != "smtp" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		token := "token" + string(rune('0'+issued.Add(1)))
		good.Store(token)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": 3600})
	}))
	defer provider.Close()
	t.Setenv("MSA_SECRET", "s3cret")
	for _, mechanism := range []string{"", "OAUTHBEARER"} {
		issued.Store(0)
		h := hoptest.New(t, func(h *hoptest.Hop) {
			h.Auth = map[string]func() gosasl.Server{
				"XOAUTH2": func() gosasl.Server {
					return tokenServer(func(s string) bool {
						return s == "user=alice@example.org\x01auth=Bearer "+good.Load().(string)+"\x01\x01"
					})
				},
				"OAUTHBEARER": func() gosasl.Server {
					return tokenServer(func(s string) bool { return strings.Contains(s, "auth=Bearer "+good.Load().(string)+"\x01") })
				},
			}
		})
		r := sink(h, func(r *Relay) {
			r.Connections = -1
			r.Auth = &Auth{Username: "alice@example.org", Mechanism: mechanism, OAuth: &OAuth{TokenURL: provider.URL, ClientID: "client", ClientSecret: "{env.MSA_SECRET}", Scopes: []string{"mail", "send"}, Audience: "smtp"}}
		})
		for range 3 {
			if err := r.Deliver(t.Context(), letter()); err != nil {
				t.Fatal(err)
			}
		}
		if n := issued.Load(); n != 1 {
			t.Errorf("%d tokens for 3 log-ins", n)
		}
		good.Store("another") // the provider has taken it back
		err := r.Deliver(t.Context(), letter())
		if !queue.IsUnreachable(err) || strings.Contains(err.Error(), "token1") {
			t.Error(err)
		}
		if err := r.Deliver(t.Context(), letter()); err != nil || issued.Load() != 2 {
			t.Errorf("%v after %d tokens", err, issued.Load())
		}
	}
	h := hoptest.New(t, nil)
	r := sink(h, func(r *Relay) {
		r.Auth = &Auth{Username: "alice", OAuth: &OAuth{TokenURL: provider.URL, ClientID: "other", ClientSecret: "wr0ng"}}
	})
	if err := r.Deliver(t.Context(), letter()); !queue.IsUnreachable(err) || !strings.Contains(err.Error(), "get a token: status 401") || strings.Contains(err.Error(), "wr0ng") {
		t.Error(err)
	}
}

// A provider that hangs is asked once, and holds up nobody whose attempt is over.
func TestTokenHangs(t *testing.T) {
	var asked atomic.Int64
	answer := make(chan struct{})
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		<-answer
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"access_token": "good", "token_type": "Bearer", "expires_in": 3600}`)
	}))
	defer provider.Close()
	tokens, err := (&OAuth{TokenURL: provider.URL, ClientID: "client", ClientSecret: "secret"}).resolve(zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	over, cancel := context.WithCancel(t.Context())
	left, waited := make(chan error), make(chan error)
	for range 3 {
		go func() { _, err := tokens.get(over); left <- err }()
	}
	go func() { _, err := tokens.get(t.Context()); waited <- err }()
	for asked.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	for range 3 {
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	tokens.drop()
	close(answer)
	if err := <-waited; err != nil {
		t.Error(err)
	}
	if token, err := tokens.get(over); token != "good" || err != nil || asked.Load() != 1 {
		t.Errorf("%q, %v, asked %d times", token, err, asked.Load())
	}
}

// tokenServer is the other side of one-step mechanisms.
type tokenServer func(string) bool

func (s tokenServer) Next(response []byte) ([]byte, bool, error) {
	if response == nil {
		return nil, false, nil
	}
	if !s(string(response)) {
		return nil, false, errors.New("no")
	}
	return nil, true, nil
}

// What a destination takes is for the queue to keep to.
func TestDestination(t *testing.T) {
	r := &Relay{Host: "127.0.0.1:1", Rate: &Rate{Messages: 60, Per: conf.Duration(time.Minute)}}
	if err := r.Provision(caddyContext); err != nil {
		t.Fatal(err)
	}
	if d := r.Destination(nil, nil); d != (queue.Destination{Name: "127.0.0.1:1", Concurrency: 20, Rate: queue.Rate{Messages: 60, Per: time.Minute}}) {
		t.Errorf("%+v", d)
	}
}
