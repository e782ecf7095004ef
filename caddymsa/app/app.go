package app

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/app/gate"
	"github.com/caddy-msa/caddy-msa/caddymsa/app/places"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
)

func init() {
	caddy.RegisterModule(new(App))
}

// App is a mail submission server (RFC 6409): it takes messages over TLS from
// clients that authenticate, stores each before it says 250, and delivers them.
type App struct {
	// Servers by name. Entries in the spool remember the name of their server, so
	// a server that is renamed leaves what it accepted without a route until a
	// server of the old name is there again.
	Servers map[string]*Server `json:"servers,omitempty"`

	// Spool is where messages lie between acceptance and delivery: a module.
	// Default: file, in Caddy's data directory.
	SpoolRaw json.RawMessage `json:"spool,omitempty" caddy:"namespace=msa.spools inline_key=module"`

	// Queue is the schedule of delivery.
	Queue *QueueConfig `json:"queue,omitempty"`

	// Journal is how much is kept of what became of messages. Default: seven days, at most 1 GiB.
	Journal *JournalConfig `json:"journal,omitempty"`

	// GracePeriod is how long a configuration that was replaced, or a process that ends,
	// waits for the calls into modules and the deliveries that are under way. Default 30s.
	GracePeriod conf.Duration `json:"grace_period,omitempty"`

	// Tracing has spans made of each message's way for OpenTelemetry. Default: none.
	Tracing *Tracing `json:"tracing,omitempty"`

	log        *zap.Logger
	events     *events
	loaded     json.RawMessage // as it was loaded, with its secrets
	started    bool
	ctx        caddy.Context
	generation *generation
	spool      caddymsa.SpoolModule
	delivery   *delivery
	notifiers  *notifiers
	bindings   []*binding
	gates      []string
	stamp      string // see stampRoutes
	routeNames map[string]bool
	former     []*formerSpool // that are emptied by this configuration's routes
	leave      func()         // ends what run began
	tracer     trace.Tracer   // nil: nothing is traced

	stoppedTracing sync.Once
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa", New: func() caddy.Module { return new(App) }}
}

// Provision sets up everything but sockets and spool, which validating a
// configuration must not touch.
func (app *App) Provision(ctx caddy.Context) (err error) {
	defer func() {
		if err != nil {
			places.Forget()
		}
	}()
	app.ctx, app.log = ctx, terminal.Logger(ctx.Logger())
	if app.loaded, err = json.Marshal(app); err != nil { // before modules are loaded, which forget their JSON
		return err
	}
	app.generation = newGeneration()
	if len(app.Servers) == 0 {
		return fmt.Errorf("servers: at least one is required")
	}
	app.rememberLines()
	if app.Queue == nil {
		app.Queue = new(QueueConfig)
	}
	if err := app.stampRoutes(time.Now()); err != nil {
		return err
	}
	if err := app.Queue.provision(); err != nil {
		return app.setting(fmt.Errorf("queue: %w", err))
	}
	if app.Journal == nil {
		app.Journal = new(JournalConfig)
	}
	if err := app.Journal.provision(); err != nil {
		return app.setting(fmt.Errorf("journal: %w", err))
	}
	if err := conf.SetDefault(&app.GracePeriod, conf.Duration(30*time.Second), "grace_period"); err != nil {
		return app.setting(err)
	}
	if err := registerMetrics(ctx.GetMetricsRegistry()); err != nil {
		return err
	}
	eventsApp, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("events app: %w", err)
	}
	if app.events, err = newEvents(ctx, eventsApp.(*caddyevents.App), app.log); err != nil {
		return fmt.Errorf("events app: %w", err)
	}

	if err := app.loadSpool(ctx); err != nil {
		return app.setting(fmt.Errorf("spool: %w", err))
	}
	tlsApp, err := ctx.App("tls")
	if err != nil {
		return fmt.Errorf("tls app: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(app.Servers)) {
		srv := app.Servers[name]
		if srv == nil {
			return fmt.Errorf("server %s: is empty", name)
		}
		srv.app, srv.name, srv.log = app, name, app.log.With(zap.String("server", name))
		err := srv.provision(ctx, tlsApp.(*caddytls.TLS))
		if item, ok := errors.AsType[itemError](err); ok { // names the server
			return item
		}
		if err != nil {
			return places.At(srv.lines.Find(err), fmt.Errorf("server %s: %w", name, err))
		}
	}
	if err := app.nameRoutes(); err != nil {
		return err
	}
	for _, srv := range app.Servers {
		tellOfRoutes(srv.Routes, srv.log)
	}
	return app.checkAddresses()
}

func (app *App) loadSpool(ctx caddy.Context) error {
	if app.SpoolRaw == nil {
		app.SpoolRaw = json.RawMessage(`{"module": "file"}`)
	}
	raw := app.SpoolRaw
	mod, err := ctx.LoadModule(app, "SpoolRaw")
	if err != nil {
		return places.At(places.Of(raw), places.Module(raw, err))
	}
	spool, ok := mod.(caddymsa.SpoolModule)
	if !ok {
		return fmt.Errorf("%s is not a spool", moduleName(mod))
	}
	app.spool = spool
	return nil
}

// checkAddresses refuses two servers, or two ports of one, on one address.
func (app *App) checkAddresses() error {
	owners := make(map[string]socketOwner)
	for _, name := range slices.Sorted(maps.Keys(app.Servers)) {
		for _, na := range app.Servers[name].addresses {
			for _, key := range socketKeys(na.NetworkAddress) {
				owner, taken := owners[key]
				owners[key] = socketOwner{name, na.String()}
				if !taken {
					continue
				}
				return places.At(app.Servers[name].linesOf(na), fmt.Errorf("server %s: %s is the same socket as %s of server %s; give each an address of its own", name, na, owner.address, owner.server))
			}
		}
	}
	return nil
}

// socketOwner is the first server that listens on a socket.
type socketOwner struct{ server, address string }

// Start opens the spool and the sockets, and puts this configuration in charge
// as its last act.
func (app *App) Start() (err error) {
	defer places.Forget()
	defer func() {
		if err != nil { // Stop will not be called
			_ = app.Cleanup()
		}
	}()
	if err = app.checkOtherApps(); err != nil {
		return err
	}
	if err = app.startTracing(); err != nil {
		return app.setting(fmt.Errorf("tracing: %w", err))
	}
	if app.delivery, err = openStore(app, app.spool); err != nil {
		return app.setting(fmt.Errorf("spool: %w", err))
	}
	if err = app.beginNotifiers(); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(app.Servers)) {
		srv := app.Servers[name]
		if err = srv.start(); err != nil {
			return places.At(srv.lines.Find(err), fmt.Errorf("server %s: %w", name, err))
		}
		v, _, _ := gates.LoadOrNew(name, openGate)
		app.gates = append(app.gates, name)
		srv.gate = v.(*gate.Gate)
		srv.Auth.Throttle.CountIn(app.counter())
		for _, na := range srv.addresses {
			b, err := bind(na.NetworkAddress, srv, na.implicit)
			if err != nil {
				return places.At(srv.linesOf(na), fmt.Errorf("server %s: listening on %s: %w", name, na, err))
			}
			app.bindings = append(app.bindings, b)
		}
		srv.handed = bindHanded(srv)
		app.bindings = append(app.bindings, srv.handed)
	}
	app.events.start()
	app.started = true
	app.keepPauses()
	app.delivery.push()
	app.notifiers = app.startNotifiers(app.delivery.store)
	app.drainFormer()
	for _, b := range app.bindings {
		b.push()
	}
	app.run()
	for _, srv := range app.Servers {
		srv.beginMetrics()
		srv.logStart()
	}
	app.logJournal()
	return nil
}

// Stop gives everything back to the configuration before or after this one. When
// the process ends, transactions under way are finished first. The grace period counts once for all
// of it.
func (app *App) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(app.GracePeriod))
	defer cancel()
	if caddy.Exiting() {
		underWay.stop()
		drain(ctx, app.bindings)
		underWay.wait(ctx)
	}
	app.release(ctx)
	return nil
}

// Cleanup ends what a failed start, or a validation, left. After Stop there is nothing.
func (app *App) Cleanup() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(app.GracePeriod))
	defer cancel()
	app.release(ctx)
	return nil
}

// release is safe to call again, and after a start that failed half way. It waits until ctx ends.
func (app *App) release(ctx context.Context) {
	if app.leave != nil {
		app.leave()
	}
	for _, b := range app.bindings {
		b.release()
	}
	app.bindings = nil
	for _, name := range app.gates {
		_, _ = gates.Delete(name)
	}
	app.gates = nil
	app.notifiers.stop(ctx, time.Duration(app.GracePeriod))
	for _, f := range app.former { // which calls under way may still look at, as at delivery
		f.end(ctx)
	}
	if app.delivery != nil {
		app.delivery.release(ctx)
	}
	if app.generation != nil {
		app.generation.close(ctx, app.log)
	}
	if app.started {
		app.events.stop(ctx)
	}
	app.stopTracing()
	for _, srv := range app.Servers {
		if srv != nil {
			srv.stopTLS()
			srv.stopAuth()
		}
	}
}

// listenAddress is a socket's address and what is spoken on it.
type listenAddress struct {
	caddy.NetworkAddress
	implicit bool
}

// linesOf is where in the Caddyfile an address stands, if that is known.
func (srv *Server) linesOf(na listenAddress) string {
	name := "listen"
	if na.implicit {
		name = "listen_tls"
	}
	return cmp.Or(srv.lines[name], srv.lines[""])
}

// parseAddresses expands port ranges and placeholders.
func parseAddresses(listen []string, port uint, implicit bool) ([]listenAddress, error) {
	var all []listenAddress
	for _, s := range listen {
		s, err := conf.Expand(s)
		if err != nil {
			return nil, err
		}
		na, err := conf.Listen(s, port)
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(na.Network, "udp") || na.Network == "unixgram" {
			return nil, fmt.Errorf("%s is not a stream socket", s)
		}
		if na.IsUnixNetwork() || na.IsFdNetwork() {
			all = append(all, listenAddress{na, implicit})
			continue
		}
		for _, one := range na.Expand() {
			all = append(all, listenAddress{one, implicit})
		}
	}
	return all, nil
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)

// gates counts the clients of each server by name, across its endpoints and reloads.
var gates = caddy.NewUsagePool()

func openGate() (caddy.Destructor, error) { return gate.New(), nil }
