//go:build linux

package authhttp

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// patience is for a machine with much else to do.
const patience = 8 * time.Second

// questionsOf are all that can be asked.
func questionsOf(h *HTTP) map[string]func() error {
	ctx := context.Background()
	all := map[string]func() error{
		"password": func() error { _, err := h.VerifyPassword(ctx, peer, "alice@example.org", "s3cret"); return err },
		"unknown":  func() error { _, err := h.VerifyPassword(ctx, peer, "nobody@example.org", "s3cret"); return err },
		"lookup":   func() error { _, err := h.Lookup(ctx, peer, "alice@example.org"); return err },
	}
	if h.Credentials {
		all["scram"] = func() error { _, _, err := h.SCRAMCredential(ctx, peer, "alice@example.org"); return err }
		all["digest"] = func() error { _, err := h.DigestCredentials(ctx, peer, "alice", "example.org"); return err }
	}
	return all
}

// cannotTell wants an error that is no refusal, soon, with a text and without secrets.
func cannotTell(t *testing.T, h *HTTP, want string) {
	t.Helper()
	var wg sync.WaitGroup
	for what, try := range questionsOf(h) {
		wg.Go(func() {
			began := time.Now()
			err := try()
			if err != nil && len(err.Error()) > 2*maxError {
				t.Errorf("%s: an error of %d octets", what, len(err.Error()))
			}
			if err == nil || isRefusal(err) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want an error that is no refusal: %s", what, err, want)
				return
			}
			if took := time.Since(began); took > patience {
				t.Errorf("%s: %s passed", what, took)
			}
			for _, secret := range []string{"s3cret", testBearer, testHMACKey} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("%s: a secret in %v", what, err)
				}
			}
		})
	}
	wg.Wait()
}

// recovers waits until logins work, without being told.
func recovers(t *testing.T, h *HTTP) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		_, err := h.VerifyPassword(context.Background(), peer, "alice@example.org", "s3cret")
		if err == nil {
			return
		}
		if isRefusal(err) || time.Now().After(end) {
			t.Fatal("it does not recover:", err)
		}
	}
}

// The service is killed and stopped while logins are under way: nobody is refused, everybody
// gets an answer in time, and when the service is back, so are logins.
func TestTrouble(t *testing.T) {
	t.Parallel()
	srv := startService(t, people())
	settings := srv.settings()
	settings.Timeout, settings.MaxConcurrent = caddy.Duration(500*time.Millisecond), 8
	h := must(t, settings)
	recovers(t, h)
	during := func(t *testing.T, end func()) {
		t.Helper()
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		var wg sync.WaitGroup
		logins := make(chan struct{}, 1000)
		for range 12 { // more than may ask at a time
			wg.Go(func() {
				for ctx.Err() == nil {
					began := time.Now()
					_, err := h.VerifyPassword(ctx, peer, "alice@example.org", "s3cret")
					if isRefusal(err) {
						t.Error("refused, though right")
					}
					if took := time.Since(began); took > patience {
						t.Errorf("%s passed before %v", took, err)
					}
					select {
					case logins <- struct{}{}:
					default:
					}
				}
			})
		}
		for range 50 {
			<-logins
		}
		end()
		for range 30 {
			<-logins
		}
		cancel()
		wg.Wait()
	}
	t.Run("killed", func(t *testing.T) {
		during(t, func() { srv.kill(srv.cmd) })
		cannotTell(t, h, "connection refused")
		again := settings // a configuration loads nevertheless
		again.Timeout++
		other := must(t, again)
		srv.restart()
		recovers(t, h)
		recovers(t, other)
	})
	t.Run("stopped", func(t *testing.T) {
		during(t, func() { srv.signal(syscall.SIGSTOP) })
		cannotTell(t, h, "no answer within 500ms")
		began := time.Now()
		again := settings
		again.Timeout += 2
		other := must(t, again)
		if err := other.Cleanup(); err != nil || time.Since(began) > patience {
			t.Error("loading and closing:", err, time.Since(began))
		}
		srv.signal(syscall.SIGCONT)
		recovers(t, h)
	})
	t.Run("restarted", func(t *testing.T) {
		// Between two logins: the connections of the old one are not in the way of the first.
		settings.Timeout = caddy.Duration(10 * time.Second)
		h := must(t, settings)
		login := func() {
			if _, err := h.VerifyPassword(context.Background(), peer, "alice@example.org", "s3cret"); err != nil {
				t.Error(err)
			}
		}
		all(login, login, login, login)
		srv.kill(srv.cmd)
		srv.restart()
		for range 8 {
			login()
		}
	})
}

// Whatever comes that is no answer is no refusal.
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
		"301": {http.RedirectHandler("/elsewhere", 301), "redirects are not followed"}, "307": {elsewhere, "redirects are not followed"},
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
		"huge header": {raw("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 2*maxHeader) + "\r\n\r\n"), "exceeded"},
		"no HTTP":     {raw("220 mail.example.org ESMTP s3cret " + testBearer + "\r\n"), "no HTTP"},
		"header line": {raw("HTTP/1.1 200 OK\r\ns3cret " + testBearer + "\r\n\r\n"), "no HTTP"},
		"status line": {raw("HTTP/1.1 500 s3cret " + testBearer + "\r\nContent-Length: 0\r\n\r\n"), "status 500"},
		"cut body":    {raw("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"ok\":true}"), "EOF"},
		"closed":      {raw(""), "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := httptest.NewServer(c.handler)
			defer srv.Close()
			for _, credentials := range []bool{false, true} {
				settings := HTTP{URL: srv.URL + "/msa", Bearer: testBearer, HMACKey: testHMACKey, Credentials: credentials, Timeout: caddy.Duration(5 * time.Second)}
				if credentials {
					settings.Decoy = []string{"PLAIN"}
				}
				if strings.HasPrefix(c.want, "no answer") {
					settings.Timeout = caddy.Duration(150 * time.Millisecond)
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

// A service that hangs holds up as many as may ask at a time; the others wait no longer than they.
func TestTurns(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	now, most := 0, 0
	entered, release := make(chan struct{}, 20), make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		entered <- struct{}{}
		<-release
		mu.Lock()
		now--
		mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"ok":false,"reason":"password s3cret is \"wrong\"`+"\\n"+`"}`)
	}))
	defer srv.Close()
	h := must(t, HTTP{URL: srv.URL, NoLookup: true, MaxConcurrent: 3, Timeout: caddy.Duration(patience)})
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(func() {
			_, err := h.VerifyPassword(context.Background(), peer, "alice@example.org", "s3cret")
			if !isRefusal(err) || strings.Contains(err.Error(), "s3cret") || !strings.Contains(err.Error(), "REDACTED is") {
				t.Error(err)
			}
		})
	}
	for range 3 {
		<-entered
	}
	for range 12 {
		release <- struct{}{}
	}
	wg.Wait()
	if most != 3 {
		t.Error(most, "questions at a time")
	}
	busy := must(t, HTTP{URL: srv.URL, NoLookup: true, MaxConcurrent: 1, Timeout: caddy.Duration(100 * time.Millisecond)})
	busy.asks.turns <- struct{}{}
	cannotTell(t, busy, "too busy")
	close(release)
}

func TestUnixSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"ok":true,"user":%q}`, r.Host+r.URL.Path)
	})}
	go func() { _ = srv.Serve(l) }()
	defer srv.Close()
	h := must(t, HTTP{URL: "http://auth/msa", Socket: path})
	if id, err := h.VerifyPassword(context.Background(), peer, "alice@example.org", "s3cret"); err != nil || id.User != "auth/msa" {
		t.Error(id, err)
	}
}
