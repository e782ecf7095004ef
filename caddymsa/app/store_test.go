package app

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	zapobserver "go.uber.org/zap/zaptest/observer"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue/queuetest"
)

// oneOpener is a spool that cannot be opened twice, as one in files.
type oneOpener struct {
	t       *testing.T
	open    atomic.Bool
	closing func()
}

func (o *oneOpener) Key() string { return o.t.Name() }

func (o *oneOpener) Open(context.Context, *zap.Logger) (queue.OpenSpool, error) {
	if o.open.Swap(true) {
		o.t.Error("a spool is opened that is open")
	}
	return &openOnce{MemSpool: queuetest.NewMemSpool(), of: o}, nil
}

type openOnce struct {
	*queuetest.MemSpool
	of *oneOpener
}

func (o *openOnce) Close() error {
	o.of.closing()
	o.of.open.Store(false)
	return o.MemSpool.Close()
}

// A store that an operator's request was the last to leave has been closed before a reload opens the spool anew.
func TestStoreClosesBeforeItOpens(t *testing.T) {
	closing, let := make(chan struct{}), make(chan struct{})
	spool := &oneOpener{t: t, closing: sync.OnceFunc(func() {
		close(closing)
		<-let
	})}
	app := &App{log: zap.NewNop()}
	d, err := openStore(app, spool)
	if err != nil {
		t.Fatal(err)
	}
	if s, leave := joinStore(spool.Key()); s != d.store {
		t.Fatal("the open store is not found")
	} else {
		d.release(t.Context())
		go leave()
	}
	<-closing
	opened, joined := make(chan *delivery), make(chan *store)
	go func() {
		d, err := openStore(app, spool)
		if err != nil {
			t.Error(err)
		}
		opened <- d
	}()
	go func() {
		s, leave := joinStore(spool.Key())
		if s != nil {
			leave()
		}
		joined <- s
	}()
	time.Sleep(20 * time.Millisecond) // in which what does not wait shows itself
	close(let)
	if s := <-joined; s == d.store {
		t.Error("a store was joined that is closed")
	}
	(<-opened).release(t.Context())
}

// An operator who looks whether a spool is open does not make a reload fail that opens it, nor finds it half open.
func TestJoinStoreWhileItOpens(t *testing.T) {
	spool := &oneOpener{t: t, closing: func() {}}
	app := &App{log: zap.NewNop()}
	var operators sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	for range 4 {
		operators.Go(func() {
			for ctx.Err() == nil {
				if s, leave := joinStore(spool.Key()); s != nil {
					if s.spool == nil || !spool.open.Load() {
						t.Error("a spool was joined that is not open")
					}
					leave()
				}
			}
		})
	}
	for range 200 {
		d, err := openStore(app, spool)
		if err != nil {
			t.Error(err)
			break
		}
		d.release(t.Context())
	}
	cancel()
	operators.Wait()
}

// breaking is a spool that panics where it is opened, adjusted or closed.
type breaking struct {
	*oneOpener
	at string
}

func (b *breaking) maybe(at string) {
	if b.at == at {
		panic("a bug in " + at)
	}
}

func (b *breaking) Open(ctx context.Context, log *zap.Logger) (queue.OpenSpool, error) {
	b.maybe("Open")
	return b.oneOpener.Open(ctx, log)
}

func (b *breaking) Adjust(queue.OpenSpool) { b.maybe("Adjust") }

// A spool that panics while a configuration is loaded or left ends neither Caddy nor the reloads that follow.
func TestStorePanics(t *testing.T) {
	core, logs := zapobserver.New(zap.ErrorLevel)
	app := &App{log: zap.New(core)}
	spool := &breaking{oneOpener: &oneOpener{t: t}}
	spool.closing = func() { spool.open.Store(false); spool.maybe("Close") }
	spool.at = "Open"
	if _, err := openStore(app, spool); err == nil || !strings.Contains(err.Error(), "a bug in Open") {
		t.Error(err)
	}
	spool.at = ""
	d, err := openStore(app, spool)
	if err != nil {
		t.Fatal(err)
	}
	spool.at = "Adjust"
	if _, err := openStore(app, spool); err == nil || !strings.Contains(err.Error(), "a bug in Adjust") {
		t.Error(err)
	}
	spool.at = "Close"
	d.release(t.Context())
	spool.at = ""
	if d, err = openStore(app, spool); err != nil {
		t.Fatal(err)
	}
	d.release(t.Context())
	if n := logs.FilterMessage("the spool panicked; please report this").Len(); n != 3 {
		t.Errorf("%d panics are in the log", n)
	}
}

// adjusting is a spool whose settings are a word.
type adjusting struct {
	*oneOpener
	settings string
	inForce  *string
}

func (a *adjusting) Adjust(queue.OpenSpool) { *a.inForce = a.settings }

// A configuration that does not come into force leaves the spool with the settings of the one that is.
func TestFailedReloadLeavesSpoolSettings(t *testing.T) {
	one, inForce := &oneOpener{t: t, closing: func() {}}, "first"
	open := func(settings string) *delivery {
		app := &App{log: zap.NewNop(), Journal: new(JournalConfig), spool: &adjusting{one, settings, &inForce}}
		d, err := openStore(app, app.spool)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	first := open("first")
	first.store.generations.push(first)
	failed := open("failed")
	if inForce != "failed" {
		t.Fatal(inForce)
	}
	failed.release(t.Context())
	if inForce != "first" {
		t.Errorf("the spool has the settings of the configuration that %s", inForce)
	}
	next := open("next")
	next.store.generations.push(next)
	first.release(t.Context())
	if inForce != "next" {
		t.Errorf("the spool has the settings of %s", inForce)
	}
	next.release(t.Context())
}
