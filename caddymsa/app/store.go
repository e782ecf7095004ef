package app

import (
	"context"
	"fmt"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// stores are the spools of this process with their queues, by key.
var stores = caddy.NewUsagePool()

// store is a spool and the queue that empties it. The newest generation says how.
type store struct {
	spool       queue.OpenSpool
	queue       *queue.Queue
	generations stack[*delivery]
	ending      context.Context // bounds the end, once that has begun
}

// delivery is one generation's say in a store.
type delivery struct {
	app   *App
	store *store
	key   string
}

// openStore opens the spool, or joins the one that is open.
func openStore(app *App, spool caddymsa.SpoolModule) (*delivery, error) {
	d := &delivery{app: app, key: spool.Key()}
	v, open, err := stores.LoadOrNew(d.key, func() (caddy.Destructor, error) {
		// Not the configuration's context: the spool outlives it.
		opened, err := spool.Open(context.Background(), app.log.Named("spool"))
		if err != nil {
			return nil, err
		}
		s := &store{spool: opened}
		s.queue = queue.New(opened, s, queue.Options{
			Logger:   app.log.Named("queue"),
			NewID:    newQueueID,
			Observer: observer{s},
		})
		return s, nil
	})
	if err != nil {
		return nil, err
	}
	d.store = v.(*store)
	if adjuster, ok := spool.(caddymsa.SpoolAdjuster); ok && open {
		adjuster.Adjust(d.store.spool)
	}
	return d, nil
}

// push puts the generation in charge of delivery.
func (d *delivery) push() {
	first := d.store.generations.len() == 0
	d.store.generations.push(d)
	if first {
		d.store.queue.Start()
	}
	d.store.queue.Wake()
}

// release takes the generation away; the queue ends, until ctx does, and the spool closes with the
// last.
func (d *delivery) release(ctx context.Context) {
	d.store.ending = ctx
	d.store.generations.remove(d)
	_, _ = stores.Delete(d.key)
}

// Destruct stops the queue, with what is left of the grace period for the attempts under way, and closes
// the spool.
func (s *store) Destruct() error {
	s.queue.Stop(s.ending)
	return s.spool.Close()
}

// Acquire implements queue.Host.
func (s *store) Acquire(ctx context.Context) (queue.Generation, context.Context, func(), bool) {
	for {
		d := s.generations.top()
		if d == nil {
			return nil, nil, nil, false
		}
		if attempt, leave, ok := d.app.generation.enter(ctx); ok {
			calling(attempt, "sink", "Deliver")
			return d, attempt, leave, true
		}
		if s.generations.top() == d { // it closes, and none has come after it
			return nil, nil, nil, false
		}
	}
}

// Route implements queue.Generation.
func (d *delivery) Route(e *queue.Entry, r *queue.Recipient) (queue.Route, error) {
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
	return queue.Route{Sink: route.sink, Name: route.name, Schedule: route.scheduleOf(r, d.app.Queue)}, nil
}

// Schedule implements queue.Generation.
func (d *delivery) Schedule() queue.Schedule { return d.app.Queue.schedule }

// Hostname implements queue.Generation.
func (d *delivery) Hostname(e *queue.Entry) string {
	if srv := d.app.Servers[e.Server]; srv != nil {
		return srv.Hostname
	}
	return e.Server
}
