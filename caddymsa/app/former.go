package app

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/app/ledger"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// formerSpool is a spool that an earlier configuration accepted into. It stays open, and what is left
// in it is delivered by the routes of the configuration that is in charge now.
type formerSpool struct {
	d    *delivery
	n    *notifiers
	once sync.Once
	stop chan struct{}
}

// drainEvery is how often it is looked whether a former spool is empty. Tests look more often.
var drainEvery = time.Second

// tellEvery is how often the log says what is left of one.
const tellEvery = 10 * time.Minute

// keepPauses has what the operator has paused stay so in another spool.
func (app *App) keepPauses() {
	stores.Range(func(_, v any) bool {
		if s, ok := v.(*store); ok && s != app.delivery.store {
			app.delivery.store.queue.TakePauses(s.queue)
		}
		return true
	})
}

// drainFormer takes over the spools that are open and not this configuration's, and names those that
// an earlier process left behind.
func (app *App) drainFormer() {
	open := make(map[string]bool)
	var others []*store
	stores.Range(func(key, v any) bool {
		open[key.(string)] = true
		if s, ok := v.(*store); ok && s != app.delivery.store {
			others = append(others, s)
		}
		return true
	})
	for _, s := range others {
		if joined, leave := joinStore(s.key); joined != s {
			if joined != nil { // it was closed meanwhile, and opened again
				leave()
			}
			continue
		}
		f := &formerSpool{d: &delivery{app: app, store: s, interrupt: make(chan struct{}), former: true}, stop: make(chan struct{})}
		f.d.push()
		f.n = app.startNotifiers(s)
		app.former = append(app.former, f)
		go f.watch()
	}
	ledger.Place(app.ctx.Storage())
	ledger.Remember(app.delivery.store.key)
	for _, key := range ledger.Remembered() {
		if !open[key] {
			app.log.Error("a former configuration's spool was left behind, perhaps with messages in it: name it in the configuration for as long as it takes to empty it",
				zap.String("spool", key))
		}
	}
}

// watch ends when the spool is empty, or another configuration has taken over.
func (f *formerSpool) watch() {
	s, log := f.d.store, f.d.app.log
	var told, emptied time.Time
	for {
		messages, octets, err := queue.Guard(s.spool, log).Size(context.Background())
		switch {
		case err != nil || messages > 0:
			emptied = time.Time{}
		case emptied.IsZero():
			emptied = time.Now()
		}
		if !emptied.IsZero() && f.n.toldSince(emptied) && s.finish(f.d) {
			log.Info("a former configuration's spool is empty and is closed", zap.String("spool", s.key))
			f.end(context.Background())
			return
		}
		if time.Since(told) > tellEvery {
			told = time.Now()
			log.Error("a former configuration's spool still has messages; it stays open until they are delivered",
				zap.String("spool", s.key), zap.Int("messages", messages), zap.Int64("octets", octets), zap.Int("being_received", s.beingReceived()), zap.Error(err))
		}
		select {
		case <-f.stop:
			return
		case <-time.After(drainEvery):
		}
	}
}

// end gives the spool back, once.
func (f *formerSpool) end(ctx context.Context) {
	f.once.Do(func() {
		close(f.stop)
		f.n.stop(ctx, time.Duration(f.d.app.GracePeriod))
		f.d.release(ctx)
	})
}

// over tells whether the spool was given back.
func (f *formerSpool) over() bool {
	select {
	case <-f.stop:
		return true
	default:
		return false
	}
}
