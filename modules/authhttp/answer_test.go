//go:build linux

package authhttp

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/webcall"
)

// Whatever comes that is not an answer is not a refusal either.
func TestNoAnswer(t *testing.T) {
	t.Parallel()
	answer := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, body)
		}
	}
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(code)
			_, _ = io.WriteString(w, `{"ok":false}`)
		}
	}
	raw := func(answer string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			c, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(c, answer)
			_ = c.Close()
		}
	}
	var elsewhere http.HandlerFunc = func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/msa" {
			t.Error("redirected to", r.URL)
		}
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	}
	var slow http.HandlerFunc = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for r.Context().Err() == nil {
			if _, err := io.WriteString(w, " "); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
			time.Sleep(5 * time.Millisecond)
		}
	}
	var slowHeader http.HandlerFunc = func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		for i := 0; ; i++ {
			if _, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nX%d: y\r\n"[min(i, 1)*17:], i); err != nil {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	var endless http.HandlerFunc = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for r.Context().Err() == nil {
			if _, err := io.WriteString(w, strings.Repeat(" ", 1<<15)); err != nil {
				return
			}
		}
	}
	for name, c := range map[string]struct {
		handler http.Handler
		want    string
	}{
		"301": {http.RedirectHandler("/elsewhere", http.StatusMovedPermanently), "redirects are not followed"}, "307": {elsewhere, "redirects are not followed"},
		"401": {status(401), "refuses this server"}, "403": {status(403), "refuses this server"}, "404": {status(404), "no such service"},
		"500": {status(500), "status 500"}, "503": {status(503), "status 503"}, "429": {status(429), "status 429"}, "201": {status(201), "status 201"},
		"204":   {http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }), "204"},
		"html":  {http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"ok":true}`) }), "not application/json"},
		"empty": {answer(""), "EOF"}, "bad JSON": {answer(`{"ok":tru}`), "invalid character"}, "cut": {answer(`{"ok":true`), "EOF"},
		"no ok": {answer(`{"user":"alice@example.org"}`), "no ok"}, "null": {answer("null"), "no ok"}, "list": {answer(`[true]`), "array"}, "text": {answer(`{"ok":"yes"}`), "string"},
		"number": {answer(`{"ok":1}`), "number"}, "twice": {answer(`{"ok":false}{"ok":true}`), "more follows"}, "misspelt at length": {answer(`{"ok":true,"` + strings.Repeat("x", 10000) + `":[]}`), "unknown field"},
		"misspelt": {answer(`{"ok":true,"adresses":[]}`), "adresses"},
		"no UTF-8": {answer("{\"ok\":true,\"user\":\"a\xff\"}"), "UTF-8"}, "control": {answer(`{"ok":true,"user":"a\u0000b"}`), "control character"},
		"address": {answer(`{"ok":true,"addresses":["a@b@c"]}`), "address"},
		"slow":    {slow, "no answer within"}, "slow header": {slowHeader, "no answer within"}, "endless": {endless, "longer than"},
		"huge":        {answer(`{"ok":true,"user":"` + strings.Repeat("x", maxAnswer) + `"}`), "longer than"},
		"huge header": {raw("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n"), "exceeded"},
		"no HTTP":     {raw("220 mail.example.org ESMTP s3cret " + testBearer + "\r\n"), "not HTTP"},
		"header line": {raw("HTTP/1.1 200 OK\r\ns3cret " + testBearer + "\r\n\r\n"), "not HTTP"},
		"status line": {raw("HTTP/1.1 500 s3cret " + testBearer + "\r\nContent-Length: 0\r\n\r\n"), "status 500"},
		"cut body":    {raw("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"ok\":true}"), "EOF"},
		"closed":      {raw(""), "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := httptest.NewServer(c.handler)
			defer srv.Close()
			for _, credentials := range []bool{false, true} {
				settings := HTTP{Config: webcall.Config{URL: srv.URL + "/msa", Bearer: testBearer, HMACKey: testHMACKey}, Credentials: credentials, Timeout: conf.Duration(30 * time.Second)}
				if credentials {
					settings.Decoy = []string{"PLAIN"}
				}
				if strings.HasPrefix(c.want, "no answer") {
					settings.Timeout = conf.Duration(150 * time.Millisecond)
				}
				h := must(t, settings)
				cannotTell(t, h, c.want)
				if err := h.Cleanup(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
