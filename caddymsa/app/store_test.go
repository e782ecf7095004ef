package app

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

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
