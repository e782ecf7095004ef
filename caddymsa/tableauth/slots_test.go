package tableauth

import (
	"context"
	"errors"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/authcache"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
)

// When all slots are taken a login waits, and ends with its context: the server cannot tell
// then, which is not a refusal. Who has just been right need not wait.
func TestSlots(t *testing.T) {
	b := New([]byte("secret"), authcache.New(time.Hour, nil), names.Folded)
	table, err := passwd.Parse(strings.NewReader("alice:{PLAIN}secret\nbob:{PLAIN}hunter2"), names.Folded)
	if err != nil {
		t.Fatal(err)
	}
	b.Swap(table)
	peer := caddymsa.Peer{IP: netip.MustParseAddr("127.0.0.1")}
	if _, err := b.VerifyPassword(context.Background(), peer, "alice", "secret"); err != nil {
		t.Fatal(err)
	}
	for range cap(slots) {
		leave, err := Enter(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		defer leave()
	}
	ctx, cancel := context.WithCancel(context.Background())
	waits := make(chan error, 1)
	go func() {
		_, err := b.VerifyPassword(ctx, peer, "bob", "hunter2")
		waits <- err
	}()
	if _, err := b.VerifyPassword(ctx, peer, "alice", "secret"); err != nil {
		t.Error("who was right a moment ago:", err)
	}
	cancel()
	if err := <-waits; !errors.Is(err, context.Canceled) || !errors.Is(err, caddymsa.ErrBusy) || errors.Is(err, caddymsa.ErrCredentials) {
		t.Error("after the context has ended:", err)
	}
}

// The line has an end: who comes then hears at once that it is too long.
func TestFullLine(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	var line sync.WaitGroup
	for range cap(slots) {
		leave, err := Enter(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer leave()
	}
	for range maxWaiting {
		line.Go(func() {
			if _, err := Enter(ctx); !errors.Is(err, context.Canceled) {
				t.Error("in the line:", err)
			}
		})
	}
	for waiting.Load() < maxWaiting {
		runtime.Gosched()
	}
	if _, err := Enter(ctx); !errors.Is(err, caddymsa.ErrBusy) || errors.Is(err, caddymsa.ErrCredentials) {
		t.Error("behind a full line:", err)
	}
	cancel()
	line.Wait()
}
