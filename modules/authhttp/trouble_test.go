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

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/webcall"
)

// patience is for a machine with much else to do. What does not heed its time-out hangs for longer.
const patience = 30 * time.Second

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

// cannotTell wants an error that is not a refusal, soon, with a text and without secrets.
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
				t.Errorf("%s: %v, want an error that is not a refusal: %s", what, err, want)
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
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
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
	settings.Timeout, settings.Concurrency = conf.Duration(500*time.Millisecond), 8
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
		cannotTell(t, h, "")
		unhurried := settings
		unhurried.Timeout = conf.Duration(patience)
		cannotTell(t, must(t, unhurried), "connection refused")
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
		settings.Timeout = conf.Duration(time.Minute)
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
	h := must(t, HTTP{Config: webcall.Config{URL: srv.URL}, NoLookup: true, Concurrency: 3, Timeout: conf.Duration(patience)})
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
	busy := must(t, HTTP{Config: webcall.Config{URL: srv.URL}, NoLookup: true, Concurrency: 1, Timeout: conf.Duration(100 * time.Millisecond)})
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
	h := must(t, HTTP{Config: webcall.Config{URL: "http://auth/msa", Socket: path}})
	if id, err := h.VerifyPassword(context.Background(), peer, "alice@example.org", "s3cret"); err != nil || id.User != "auth/msa" {
		t.Error(id, err)
	}
}
