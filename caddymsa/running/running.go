// Package running finds the servers that run in this process, for what reaches them by another way
// than their own sockets: handlers of web sites and of layer 4.
//
// Such a handler asks at each request, since the next configuration may be in charge by then, and keeps
// nothing of the answer. What it can ask is an interface of this package, a file each, which the app's
// servers implement.
package running

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

// configuration is one between its app's Start and Stop.
type configuration struct {
	app     any
	servers map[string]any
}

var (
	mu      sync.RWMutex
	running []*configuration // the newest is in charge, as of endpoints
)

// Push puts an app and its servers, by name, in charge until remove is called, wherever others have come
// meanwhile. It is the app's, and tests'.
func Push(app any, servers map[string]any) (remove func()) {
	mu.Lock()
	defer mu.Unlock()
	c := &configuration{app, servers}
	running = append(running, c)
	return func() {
		mu.Lock()
		defer mu.Unlock()
		running = slices.DeleteFunc(running, func(have *configuration) bool { return have == c })
	}
}

func top() *configuration {
	mu.RLock()
	defer mu.RUnlock()
	if len(running) == 0 {
		return nil
	}
	return running[len(running)-1]
}

// Server is the server of that name in the configuration in charge, as a T. There is none before the msa app
// has started, which other apps may do earlier: a web site answers 503 then, and where the name is gone.
func Server[T any](name string) (server T, ok bool) {
	c := top()
	if c == nil {
		return server, false
	}
	server, ok = c.servers[name].(T)
	return server, ok
}

// App is the msa app of the configuration in charge, as a T.
func App[T any]() (app T, ok bool) {
	c := top()
	if c == nil {
		return app, false
	}
	app, ok = c.app.(T)
	return app, ok
}

// Named is what an app tells while it is provisioned.
type Named interface {
	// ServerNames are those of the configuration's servers.
	ServerNames() []string
}

// named has where the handlers stand that name servers and were adapted last, by those names, until they are checked: what is
// refused can so be named with file and line, if this process adapted it.
var named = struct {
	sync.Mutex
	places map[string]string
}{places: make(map[string]string)}

// most bounds what is remembered of configurations that are adapted and never loaded.
const most = 1000

// NamedAt keeps where a Caddyfile names a server.
func NamedAt(d *caddyfile.Dispenser, name string) {
	named.Lock()
	defer named.Unlock()
	if len(named.places) >= most {
		clear(named.places)
	}
	named.places[name] = fmt.Sprintf(", at %s:%d", d.File(), d.Line())
}

func placeOf(name string) string {
	named.Lock()
	defer named.Unlock()
	place := named.places[name]
	delete(named.places, name)
	return place
}

// Check tells while a configuration is loaded whether it has a server of that name.
func Check(ctx caddy.Context, name string) error {
	place := placeOf(name)
	app, err := ctx.AppIfConfigured("msa")
	if err != nil {
		return fmt.Errorf("there is no msa app in this configuration: %w%s", err, place)
	}
	servers, ok := app.(Named)
	if !ok {
		return fmt.Errorf("the app is a %T, not the msa app", app)
	}
	if names := servers.ServerNames(); !slices.Contains(names, name) {
		return fmt.Errorf("there is no msa server %q (there are: %s)%s", name, conf.And(names), place)
	}
	return nil
}

// Entered is a call into the modules of a configuration, which outlives the call.
type Entered interface {
	// Enter begins a call: ctx ends with parent or with the configuration's grace period. It is not ok where the
	// configuration takes no calls any more; ask again for the one in charge then. Leave must be called.
	Enter(parent context.Context) (ctx context.Context, leave func(), ok bool)
}
