package app

import (
	"context"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"
)

// Names of the events that the app emits. Each has queue_id, server, sender and recipients in
// its data, and what is named beside it.
const (
	eventAccepted  = "message_accepted"  // user, size
	eventRefused   = "message_refused"   // user, reply, policy, remote_ip, moment: MAIL, RCPT, DATA (the end of a message), BDAT or AUTH
	eventDelivered = "message_delivered" // route, lane, reply, next_hop_id, host, address, tls
	eventDeferred  = "message_deferred"  // the same, and error
	eventExpired   = "message_expired"   // the same: failed for good because of its age
	eventFailed    = "message_failed"    // bounce: the notification's queue id, or reason why there is none
	eventBounced   = "message_bounced"   // bounce: the same, only where the sender was told
	eventTold      = "message_told"      // bounce, action: delayed, delivered or relayed
	eventHeld      = "message_held"      // reason, by: the operator
	// Of a copy: its name as copy, beside what those of deliveries have.
	eventCopied       = "message_copied"
	eventCopyDeferred = "copy_deferred"
	eventCopyFailed   = "copy_failed"
)

// maxEvents is how many events may wait for handlers.
const maxEvents = 4096

// events hands events to Caddy's events app one after the other, beside the work that they
// are about: a handler that takes its time holds up no client and no delivery.
type events struct {
	app  *caddyevents.App
	ctx  caddy.Context
	log  *zap.Logger
	lost atomic.Bool

	pending  atomic.Int64 // events that no handler is through with
	handling atomic.Value // the name of the event that handlers are called with, the last one

	ready   chan struct{} // closed when all apps have started
	isReady sync.Once

	mu      sync.RWMutex
	closed  bool
	waiting chan event
	done    chan struct{}
}

type event struct {
	name string
	data map[string]any
}

func newEvents(ctx caddy.Context, app *caddyevents.App, log *zap.Logger) (*events, error) {
	ev := &events{app: app, ctx: ctx, log: log, waiting: make(chan event, maxEvents), done: make(chan struct{}), ready: make(chan struct{})}
	return ev, app.On("started", ev)
}

// Handle implements caddyevents.Handler for Caddy's event that all apps have started. The events app makes its
// subscriptions when it starts, which may be after this one, and must not be asked about them meanwhile.
func (ev *events) Handle(context.Context, caddy.Event) error {
	ev.begin()
	return nil
}

func (ev *events) begin() { ev.isReady.Do(func() { close(ev.ready) }) }

// wanted tells whether anybody may want an event.
func (ev *events) wanted(name string) bool {
	select {
	case <-ev.ready:
		return ev.app.ShouldEmit(name)
	default:
		return true
	}
}

// start begins to hand on. An events that was not started keeps nothing back: nothing is emitted
// before the app starts.
func (ev *events) start() {
	go func() {
		defer close(ev.done)
		<-ev.ready
		for e := range ev.waiting {
			ev.hand(e)
		}
	}()
}

// hand calls the handlers. One that panics must not take Caddy with it.
func (ev *events) hand(e event) {
	defer ev.pending.Add(-1)
	defer func() {
		if p := recover(); p != nil {
			ev.log.Error("a handler of events panicked", zap.String("event", e.name), zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
		}
	}()
	ev.handling.Store(e.name)
	ev.app.Emit(ev.ctx, e.name, e.data)
}

// emit hands an event on if anybody wants it. When handlers cannot keep up, it is dropped.
func (ev *events) emit(name string, data func() map[string]any) {
	if ev == nil || !ev.wanted(name) {
		return
	}
	ev.mu.RLock()
	defer ev.mu.RUnlock()
	if ev.closed {
		return
	}
	ev.pending.Add(1)
	select {
	case ev.waiting <- event{name, data()}:
		ev.lost.Store(false)
	default:
		ev.pending.Add(-1)
		if !ev.lost.Swap(true) {
			ev.log.Error("events are dropped: their handlers cannot keep up", zap.String("event", name), zap.Int("waiting", maxEvents))
		}
	}
}

// stop waits for those that were handed on until ctx ends.
func (ev *events) stop(ctx context.Context) {
	ev.mu.Lock()
	already := ev.closed
	ev.closed = true
	if !already {
		close(ev.waiting)
	}
	ev.mu.Unlock()
	if already {
		return
	}
	ev.begin() // if another app did not start
	select {
	case <-ev.done:
	case <-ctx.Done():
		if ev.pending.Load() == 0 { // there was no time to wait, and nothing to wait for
			return
		}
		name, _ := ev.handling.Load().(string)
		ev.log.Error("a handler of events does not end; it is left behind", zap.String("event", name), zap.Int("waiting", len(ev.waiting)))
	}
}
