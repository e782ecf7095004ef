package app

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/notify"
)

// notifiers are a configuration's followers of one store's journal.
type notifiers struct {
	store *store
	all   []*following
	leave func() // the store
	once  sync.Once

	forgetting context.CancelFunc
	forgot     chan struct{} // closed when those that are gone were forgotten
}

// following is a notifier at work.
type following struct {
	*notify.Follower
	c *NotifyConfig
	n *notifiers
}

// followings are all of this process, for the metrics and the admin API.
var followings struct {
	mu  sync.Mutex
	all map[*following]bool
}

// startNotifiers has others told of what is in a store's journal, by this configuration. Nil: there is nothing to tell, or no journal.
func (app *App) startNotifiers(s *store) *notifiers {
	j, ok := s.spool.(journal.Journal)
	if !ok {
		return nil
	}
	_, leave := joinStore(s.key)
	if leave == nil {
		return nil // it is being closed
	}
	n := &notifiers{store: s, leave: leave, forgot: make(chan struct{})}
	for _, srv := range app.Servers {
		for _, c := range srv.Notify {
			n.all = append(n.all, &following{c: c, n: n})
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	n.forgetting = cancel
	go func() {
		defer close(n.forgot)
		defer cancel()
		app.forgetNotifiers(ctx, j)
	}()
	for _, f := range n.all {
		f.Follower = notify.Start(notify.Options{
			Name: f.c.cursor, Journal: j, Log: f.c.log, Choose: f.c.choose, Tell: func(ctx context.Context, e *notify.Event) error { return f.c.tell(ctx, j, e) }, ByUser: f.c.users != nil, Concurrency: f.c.Concurrency,
			Observe: func(r notify.Result) { metrics.notified.WithLabelValues(f.c.srv.name, f.c.label, string(r)).Inc() },
		})
	}
	followings.mu.Lock()
	defer followings.mu.Unlock()
	if followings.all == nil {
		followings.all = make(map[*following]bool)
	}
	for _, f := range n.all {
		followings.all[f] = true
	}
	return n
}

// tell tells of an event, or of one of a user to that user.
func (c *NotifyConfig) tell(ctx context.Context, j journal.Reader, e *notify.Event) error {
	if c.users == nil {
		return c.notifier.Notify(ctx, e)
	}
	who, none, err := c.users.of(ctx, j, e.Fact)
	if err != nil || none {
		return err
	}
	return c.notifier.(caddymsa.UserNotifier).NotifyUser(ctx, e, who)
}

// handOver is how long a reload waits for calls that are under way. What takes longer ends beside the configuration that comes, whose
// own followers wait for it.
const handOver = 200 * time.Millisecond

// stop ends them. Calls under way go on for as long as ctx says when the process ends, and otherwise for the grace period.
func (n *notifiers) stop(ctx context.Context, grace time.Duration) {
	if n == nil {
		return
	}
	n.once.Do(func() {
		followings.mu.Lock()
		for _, f := range n.all {
			delete(followings.all, f)
		}
		followings.mu.Unlock()
		ended := make(chan struct{})
		limit, cancel := ctx, context.CancelFunc(func() {})
		if !caddy.Exiting() {
			limit, cancel = context.WithTimeout(context.Background(), grace)
		}
		go func() {
			defer close(ended)
			defer cancel()
			var all sync.WaitGroup
			for _, f := range n.all {
				all.Go(func() { f.Stop(limit) })
			}
			all.Wait()
			n.forgetting()
			<-n.forgot
			n.leave()
		}()
		if caddy.Exiting() {
			<-ended
			return
		}
		timer := time.NewTimer(handOver)
		defer timer.Stop()
		select {
		case <-ended:
		case <-timer.C:
		}
	})
}

// toldSince tells whether everything was told that happened until then, as far as this node is the one to tell.
func (n *notifiers) toldSince(at time.Time) bool {
	if n == nil {
		return true
	}
	for _, f := range n.all {
		if s := f.Status(); s.Active && !s.Told.After(at) {
			return false
		}
	}
	return true
}

// errNoJournal is of a spool that keeps none.
var errNoJournal = errors.New("notify: this spool keeps no journal, and what others are told comes out of it; use spool file or spool postgres, or remove notify")

// beginning is how long a start waits for the journal.
const beginning = 5 * time.Second

// beginNotifiers has those that are new hear of all that happens from now on. It refuses notifiers without a journal.
func (app *App) beginNotifiers() error {
	ctx, cancel := context.WithTimeout(app.ctx, beginning)
	defer cancel()
	for _, srv := range app.Servers {
		for _, c := range srv.Notify {
			j, ok := app.delivery.store.spool.(journal.Journal)
			if !ok {
				return errNoJournal
			}
			if err := notify.Begin(ctx, j, c.cursor); err != nil { // it does so later
				c.log.Warn("the journal does not answer; a notifier that is new begins once it does", zap.Error(err))
			}
		}
	}
	return nil
}

// forgetNotifiers has the journal keep nothing for notifiers that the configuration does not have any more.
func (app *App) forgetNotifiers(ctx context.Context, j journal.Journal) {
	defer func() {
		if p := recover(); p != nil {
			app.log.Error("the journal panicked; please report this", zap.Any("panic", p))
		}
	}()
	for _, srv := range app.Servers {
		var kept []string
		for _, c := range srv.Notify {
			kept = append(kept, c.cursor)
		}
		forgotten, err := notify.Forget(ctx, j, srv.cursors(), kept)
		for _, name := range forgotten {
			srv.log.Info("a notifier is not in the configuration any more; it is forgotten how far it was told", zap.String("notifier", name))
		}
		if err != nil && ctx.Err() == nil {
			srv.log.Warn("cannot forget notifiers that are not in the configuration any more", zap.Error(err))
		}
	}
}
