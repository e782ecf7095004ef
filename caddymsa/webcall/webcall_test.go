package webcall

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

func text(s string) Body {
	return Body{Type: "text/plain", Size: int64(len(s)), Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(s)), nil }}
}

func TestPost(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.URL.Path == "/moved" {
			http.Redirect(w, r, "/", http.StatusTemporaryRedirect)
			return
		}
		mac := hmac.New(sha256.New, []byte("k3y"))
		stamp, sum, _ := strings.Cut(strings.TrimPrefix(r.Header.Get(SignatureHeader), "t="), ",v1=")
		_, _ = io.WriteString(mac, stamp+"."+string(body))
		if string(body) != "hello" || r.ContentLength != 5 || r.Header.Get("Authorization") != "Bearer t0ken" || r.Header.Get("X-More") != "yes" || r.Header.Get("X-Own") != "v" || hex.EncodeToString(mac.Sum(nil)) != sum {
			t.Errorf("%s %v", body, r.Header)
		}
		w.WriteHeader(http.StatusTeapot)
	}))
	defer srv.Close()
	c, err := (&Config{URL: srv.URL, Bearer: "t0ken", HMACKey: "k3y", Headers: map[string]string{"X-More": "yes"}}).Open(zap.NewNop(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	resp, err := c.Post(context.Background(), http.Header{"X-Own": {"v"}}, text("hello"))
	if err != nil || resp.StatusCode != http.StatusTeapot {
		t.Fatal(resp, err)
	}
	_ = resp.Body.Close()
	moved, err := (&Config{URL: srv.URL + "/moved"}).Open(zap.NewNop(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer moved.Close()
	if _, err := moved.Post(context.Background(), nil, text("hello")); err == nil || !strings.Contains(err.Error(), "redirects are not followed") {
		t.Error(err)
	}
}

// A service that is called by its IP address may be one of several of that address.
func TestHostHeader(t *testing.T) {
	host := make(chan string, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { host <- r.Host }))
	defer srv.Close()
	c, err := (&Config{URL: srv.URL, Headers: map[string]string{"host": "check.example.org"}}).Open(zap.NewNop(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	resp, err := c.Post(context.Background(), nil, text("hello"))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if got := <-host; got != "check.example.org" {
		t.Errorf("the request is for %s", got)
	}
}

// Errors name the service and none of its secrets.
func TestErrors(t *testing.T) {
	c, err := (&Config{URL: "http://127.0.0.1:1/t0ken", Bearer: "t0ken"}).Open(zap.NewNop(), 1)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if _, err := c.Post(ctx, nil, text("")); err == nil || strings.Contains(err.Error(), "t0ken") || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Error(err)
	}
}

func TestBadConfig(t *testing.T) {
	for _, c := range []*Config{{}, {URL: "ftp://x"}, {URL: "http://example.org"}, {URL: "https://x", TLSClient: conf.TLSClient{CA: []string{"/nonexistent"}}}, {URL: "https://x", TLSClient: conf.TLSClient{ClientKey: "x"}}, {URL: "https://x", TLSClient: conf.TLSClient{ClientKey: "/nonexistent", ClientCertificate: "/nonexistent"}}, {URL: "https://x", Bearer: "{no.such}"}, {URL: "https://x", Bearer: "two words"},
		{URL: "https://user:password@x"}, {URL: "http://127.0.0.1", TLSClient: conf.TLSClient{ServerName: "x"}}, {URL: "https://x", Socket: "{no.such}"}} {
		if _, err := c.Open(zap.NewNop(), 1); err == nil {
			t.Errorf("%+v: no error", c)
		}
	}
}

// Header fields that HTTP cannot carry are refused before anything is sent, and their values are not told.
func TestBadHeaders(t *testing.T) {
	for want, headers := range map[string]map[string]string{
		`"X-A:" is not the name`:       {"X-A:": "1"},
		`"X A" is not the name`:        {"X A": "1"},
		`"" is not the name`:           {"": "1"},
		"X-A: the value has":           {"X-A": "s3cret\n"},
		"X-A is specified twice":       {"X-A": "1", "x-a": "2"},
		"X-A: unknown placeholder {no": {"X-A": "{no.such}"},
	} {
		_, err := (&Config{URL: "https://x", Headers: headers}).Open(zap.NewNop(), 1)
		if err == nil || !strings.HasPrefix(err.Error(), "headers: "+want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%v: %v, want %s", headers, err, want)
		}
	}
	c, err := (&Config{URL: "https://x", Headers: map[string]string{"x-source": "msa {system.os} é", "Empty": ""}}).Open(zap.NewNop(), 1)
	if err != nil || c.headers.Get("X-Source") == "" || c.headers.Values("Empty") == nil {
		t.Errorf("%v, %v", c, err)
	}
}
