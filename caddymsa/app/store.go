package app

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/app/ledger"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// stores are the spools of this process with their queues, by key.
var stores = caddy.NewUsagePool()

// store is a spool and the queue that empties it. The newest generation says how.
type store struct {
	key         string
	spool       queue.OpenSpool
	queue       *queue.Queue
	generations stack[*delivery]
	logs        movingLog
	log         *zap.Logger                     // of logs
	ending      atomic.Pointer[context.Context] // bounds the end, once that has begun

	mu       sync.Mutex
	drafts   int  // messages that are being received
	finished bool // see finish
}

// delivery is one generation's say in a store.
type delivery struct {
	app       *App
	store     *store
	interrupt chan struct{} // closed when attempts that can be taken back are to end
	former    bool          // nothing is accepted any more
	released  sync.Once
}

// opening is held while a store is opened or closed: a spool that is opened again must have been closed.
var opening sync.Mutex

// openStore opens the spool, or joins the one that is open.
func openStore(app *App, spool caddymsa.SpoolModule) (*delivery, error) {
	key := spool.Key()
	opening.Lock()
	defer opening.Unlock()
	v, open, err := stores.LoadOrNew(key, func() (caddy.Destructor, error) {
		s := &store{key: key}
		s.logs.to.Store(app.log)
		s.log = s.logs.logger()
		err := queue.Guarded(app.log, func() (err error) { // a panic would leave the pool locked, and no later reload would end
			// Not the configuration's context: the spool outlives it.
			if s.spool, err = spool.Open(context.Background(), s.log.Named("spool")); err != nil {
				return err
			}
			s.queue = queue.New(s.spool, s, queue.Options{
				Logger:   s.log.Named("queue"),
				NewID:    newQueueID,
				Observer: observer{s},
			})
			return nil
		})
		if err != nil {
			return nil, err
		}
		return s, nil
	})
	if err != nil {
		return nil, err
	}
	d := &delivery{app: app, store: v.(*store), interrupt: make(chan struct{})}
	if adjuster, ok := spool.(caddymsa.SpoolAdjuster); ok && open {
		err := queue.Guarded(app.log, func() error {
			adjuster.Adjust(d.store.spool)
			return nil
		})
		if err != nil {
			_, _ = stores.Delete(key)
			return nil, err
		}
	}
	return d, nil
}

// joinStore keeps the store of a key open until leave; nil if none is open.
func joinStore(key string) (s *store, leave func()) {
	opening.Lock()
	defer opening.Unlock()
	if _, open := stores.References(key); !open {
		return nil, nil
	}
	v, _ := stores.LoadOrStore(key, nil) // loads: what is opened or closed is so under the lock
	return v.(*store), func() { leaveStore(key) }
}

// leaveStore closes the store if nobody else has it open.
func leaveStore(key string) {
	opening.Lock()
	defer opening.Unlock()
	_, _ = stores.Delete(key)
}

// push puts the generation in charge of delivery.
func (d *delivery) push() {
	s := d.store
	s.mu.Lock()
	s.generations.push(d)
	s.finished = false
	s.mu.Unlock()
	s.moveLog()
	s.limitJournal()
	s.queue.Start()
	s.queue.Wake()
}

// release takes the generation away, and waits for no delivery: those that can be taken back are
// interrupted and leased anew by the generation that is in charge now, the others are finished in
// the background. With the last generation the queue ends, until ctx does, and the spool closes.
func (d *delivery) release(ctx context.Context) {
	d.released.Do(func() { d.giveBack(ctx) })
}

func (d *delivery) giveBack(ctx context.Context) {
	d.store.ending.Store(&ctx)
	if d.store.generations.remove(d) > 0 {
		close(d.interrupt)
	}
	d.store.settle()
	d.store.limitJournal()
	d.store.queue.Wake()
	leaveStore(d.store.key)
}

// moveLog has the log be that of the generation in charge; behind the last one, it stays.
func (s *store) moveLog() {
	if d := s.generations.top(); d != nil {
		s.logs.to.Store(d.app.log)
	}
}

// settle gives the store back to the generation in charge, after another one that may have failed to start had its way
// with it.
func (s *store) settle() {
	s.moveLog()
	d := s.generations.top()
	if d == nil || d.former {
		return
	}
	if adjuster, ok := d.app.spool.(caddymsa.SpoolAdjuster); ok {
		_ = queue.Guarded(s.log, func() error {
			adjuster.Adjust(s.spool)
			return nil
		})
	}
}

// Destruct stops the queue, with what is left of the grace period for the attempts under way, and closes
// the spool.
func (s *store) Destruct() error {
	s.queue.Stop(*s.ending.Load())
	messages, _, err := queue.Guard(s.spool, s.log).Size(context.Background())
	switch {
	case err == nil && messages == 0:
		ledger.Forget(s.key)
	case !caddy.Exiting():
		s.log.Error("a spool is closed although messages are left in it; they wait until a configuration has it again",
			zap.String("spool", s.key), zap.Int("messages", messages), zap.Error(err))
	}
	return queue.Guarded(s.log, s.spool.Close)
}

// draining tells whether no configuration accepts into it any more.
func (s *store) draining() bool {
	d := s.generations.top()
	return d != nil && d.former
}

// Acquire implements queue.Host.
func (s *store) Acquire() (queue.Generation, <-chan struct{}, bool) {
	if d := s.generations.top(); d != nil {
		return d, d.interrupt, true
	}
	return nil, nil, false
}

// Route implements queue.Generation.
func (d *delivery) Route(ctx context.Context, e *queue.Entry, r *queue.Recipient) (queue.Route, error) {
	srv := d.app.Servers[e.Server]
	if srv == nil {
		return queue.Route{}, fmt.Errorf("%w: there is no server %s any more", queue.ErrNoRoute, e.Server)
	}
	route, err := srv.route(e, r)
	if err != nil {
		return queue.Route{}, err
	}
	if route == nil {
		return queue.Route{}, queue.ErrNoRoute
	}
	return route.to(ctx, e, r, d.app.Queue)
}

// Knows implements queue.Generation.
func (d *delivery) Knows(lane string) bool {
	for name := lane; ; {
		if d.app.routeNames[name] {
			return true
		}
		i := strings.LastIndexByte(name, '/')
		if i < 0 {
			return false
		}
		name = name[:i]
	}
}

// Expects implements queue.LaneExpecter.
func (d *delivery) Expects(lane string) bool {
	for _, srv := range d.app.Servers {
		for _, r := range srv.allRoutes() {
			if r.leadsTo(lane) {
				return true
			}
		}
		for _, c := range srv.Copies {
			if c.route.leadsTo(lane) {
				return true
			}
		}
	}
	return false
}

// Stamp implements queue.Generation.
func (d *delivery) Stamp() string { return d.app.stamp }

// Schedule implements queue.Generation.
func (d *delivery) Schedule() queue.Schedule { return d.app.Queue.schedule }

// Settings implements queue.Generation.
func (d *delivery) Settings() queue.Settings {
	s := d.app.Queue.settings
	s.Grace, s.NoFacts = time.Duration(d.app.GracePeriod), d.app.Journal.isOff()
	return s
}

// Hostname implements queue.Generation.
func (d *delivery) Hostname(e *queue.Entry) string {
	if srv := d.app.Servers[e.Server]; srv != nil {
		return srv.Hostname
	}
	return e.Server
}

// routed is a generation that knows already where a message's recipients go.
type routed struct {
	*delivery
	routes []*RouteConfig
}

// Route implements queue.Generation.
func (r *routed) Route(ctx context.Context, e *queue.Entry, rcpt *queue.Recipient) (queue.Route, error) {
	if rcpt.Index < len(r.routes) {
		return r.routes[rcpt.Index].to(ctx, e, rcpt, r.app.Queue)
	}
	return r.delivery.Route(ctx, e, rcpt)
}
