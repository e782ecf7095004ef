package notifywebhook

import (
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/notify"
)

// No address that not everybody can reach is connected to.
func TestPublic(t *testing.T) {
	for text, want := range map[string]bool{
		"8.8.8.8": true, "192.0.1.1": true, "100.63.255.255": true, "100.128.0.1": true, "172.15.0.1": true, "172.32.0.1": true, "2606:4700::1111": true, "2a00:1450::1": true, "::ffff:8.8.8.8": true,
		"127.0.0.1": false, "127.255.0.9": false, "10.1.2.3": false, "172.16.0.1": false, "172.31.255.255": false, "192.168.1.1": false, "169.254.169.254": false, "100.64.0.1": false, "100.127.255.255": false,
		"0.0.0.0": false, "0.1.2.3": false, "192.0.0.8": false, "192.0.2.1": false, "198.18.0.1": false, "198.51.100.1": false, "203.0.113.1": false, "224.0.0.1": false, "239.1.1.1": false, "240.0.0.1": false, "255.255.255.255": false, "192.88.99.1": false,
		"::1": false, "::": false, "fe80::1": false, "fc00::1": false, "fd12::1": false, "fec0::1": false, "ff02::1": false, "::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false, "::ffff:169.254.169.254": false,
		"::127.0.0.1": false, "64:ff9b::7f00:1": false, "64:ff9b:1::1": false, "2002:7f00:1::1": false, "2001::1": false, "2001:db8::1": false, "100::1": false, "3fff::1": false, "5f00::1": false, "fe80::1%eth0": false, "2606:4700::1111%eth0": false,
	} {
		if got := public(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
	if public(netip.Addr{}) {
		t.Error("no address")
	}
	for _, bad := range []string{"127.0.0.1:443", "[::1]:443", "[::ffff:10.0.0.1]:443", "[fe80::1%eth0]:443", "/run/socket", ""} {
		if err := publicOnly("tcp", bad, nil); !errors.Is(err, errNotPublic) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if err := publicOnly("tcp4", "8.8.8.8:443", nil); err != nil {
		t.Error(err)
	}
}

func TestPermitted(t *testing.T) {
	w := &UserWebhook{Allow: []string{"hooks.example.org", "*.Example.net", "bücher.example:8443"}}
	if err := w.provision(zap.NewNop()); err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string]bool{
		"https://hooks.example.org/x": true, "https://HOOKS.example.org.:443/": true, "https://a.b.example.net": true, "https://xn--bcher-kva.example:8443/": true,
		"http://hooks.example.org/": false, "https://hooks.example.org:8443/": false, "https://example.net/": false, "https://evilexample.net/": false, "https://hooks.example.org.evil.example/": false,
		"https://alice:x@hooks.example.org/": false, "https://hooks.example.org@evil.example/": false, "https:///x": false, "ftp://hooks.example.org": false, "https://127.0.0.1/": false, "https://[::1]/": false, "::": false, "https://hooks.example.org:0443/": false,
	} {
		if err := w.permitted(url); (err == nil) != want {
			t.Errorf("%s: %v", url, err)
		}
	}
	for _, bad := range []string{"https://x", "x/y", "exa mple", "*.*.example.org", "x:0", "x:99999", "x:y", "", "*x"} {
		if err := (&UserWebhook{Allow: []string{bad}}).provision(zap.NewNop()); err == nil {
			t.Errorf("allow %q is taken", bad)
		}
	}
	any := &UserWebhook{Allow: []string{"*"}}
	if err := any.provision(zap.NewNop()); err != nil || any.permitted("https://x.example/") != nil || any.permitted("https://x.example:444/") == nil {
		t.Error(err)
	}
	if err := (&UserWebhook{}).provision(zap.NewNop()); err == nil || !strings.Contains(err.Error(), "allow is required") {
		t.Error(err)
	}
}

func identity(attributes ...string) caddymsa.Identity {
	who := caddymsa.Identity{User: "alice@example.org", Attributes: make(map[string]string)}
	for i := 0; i < len(attributes); i += 2 {
		who.Attributes[attributes[i]] = attributes[i+1]
	}
	return who
}

// A user's URL is not the operator's: there are no placeholders in it, which could have anything of the environment and any file sent to the user.
func TestNoPlaceholders(t *testing.T) {
	t.Setenv("MSA_KEY", "s3cret")
	got := make(chan string, 1)
	srv := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.URL.String() }))
	defer srv.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	w := &UserWebhook{Allow: []string{"*" + srv.URL[strings.LastIndexByte(srv.URL, ':'):]}, CA: []string{file}}
	if err := w.provision(zap.NewNop()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Cleanup() })
	w.control = func(string, string, syscall.RawConn) error { return nil }
	for rest, want := range map[string]string{"/?k={env.MSA_KEY}": "/?k={env.MSA_KEY}", "/{file." + file + "}": "/%7Bfile." + file + "%7D"} {
		if err := w.NotifyUser(t.Context(), delivered(), identity("webhook_url", srv.URL+rest)); err != nil {
			t.Error(err)
		} else if asked := <-got; asked != want {
			t.Errorf("%s: %s, want %s", rest, asked, want)
		}
	}
}

// A user is told at the URL of the identity, signed with the secret there; a user without one, or with one that is not allowed, is not.
func TestNotifyUser(t *testing.T) {
	var calls atomic.Int64
	var signed atomic.Bool
	status := http.StatusNoContent
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		signed.Store(r.Header.Get("webhook-signature") != "")
		w.Header().Set("Location", "https://127.0.0.1/")
		w.WriteHeader(status)
	}))
	defer srv.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	port := srv.URL[strings.LastIndexByte(srv.URL, ':'):]
	url := srv.URL + "/alice"
	core, logs := observer.New(zap.WarnLevel)
	w := &UserWebhook{Allow: []string{"*" + port}, CA: []string{file}}
	if err := w.provision(zap.New(core)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Cleanup() })
	w.control = func(string, string, syscall.RawConn) error { return nil }
	for _, tt := range []struct {
		who    caddymsa.Identity
		calls  int64
		signed bool
	}{
		{identity("webhook_url", url, "webhook_secret", secret), 1, true},
		{identity("webhook_url", url), 1, false},
		{identity(), 0, false},
		{identity("webhook_url", "https://hooks.example.com/"), 0, false},
		{identity("webhook_url", "http://127.0.0.1"+port), 0, false},
	} {
		calls.Store(0)
		if err := w.NotifyUser(t.Context(), delivered(), tt.who); err != nil || calls.Load() != tt.calls || tt.calls > 0 && signed.Load() != tt.signed {
			t.Errorf("%v: %v, %d calls", tt.who.Attributes, err, calls.Load())
		}
	}
	if logs.FilterMessageSnippet("is not allowed").Len() != 2 {
		t.Error(logs.All())
	}
	calls.Store(0)
	if _, ok := errors.AsType[*notify.RefusedError](w.NotifyUser(t.Context(), delivered(), identity("webhook_url", url, "webhook_secret", "short"))); !ok || calls.Load() != 0 {
		t.Error("a secret that is none")
	}
	status = http.StatusTemporaryRedirect
	if err := w.NotifyUser(t.Context(), delivered(), identity("webhook_url", url)); err == nil || calls.Load() != 1 {
		t.Errorf("a redirect: %v, %d calls", err, calls.Load())
	}
	w.clients.close()
	w.control = publicOnly
	if err := w.NotifyUser(t.Context(), delivered(), identity("webhook_url", url)); err == nil || !strings.Contains(err.Error(), "not a public address") || calls.Load() != 1 {
		t.Errorf("this machine: %v, %d calls", err, calls.Load())
	}
	t.Setenv("HTTPS_PROXY", srv.URL)
	if err := w.NotifyUser(t.Context(), delivered(), identity("webhook_url", "https://192.0.2.1"+port)); err == nil || calls.Load() != 1 {
		t.Errorf("by a proxy: %v", err)
	}
}
