package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/app/places"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// CopyConfig is one element of a server's copies: what it accepts goes there too, unaltered and with its envelope,
// beside the routes and whatever becomes of the message there.
type CopyConfig struct {
	// Match restricts the copy to messages of which one of these sets matches at least one recipient. The copy has all
	// of them. Empty: every message.
	MatcherSetsRaw []caddy.ModuleMap `json:"match,omitempty" caddy:"namespace=msa.matchers"`
	// Name of the copy in log, metrics, lanes and in the spool: what waits goes where the copy of its name goes.
	// Default: "copy-" and the sink's name.
	Name string `json:"name,omitempty"`
	// Sink is where the copy goes: a module.
	SinkRaw json.RawMessage `json:"sink,omitempty" caddy:"namespace=msa.sinks inline_key=module"`
	// Queue is how often it is tried, and when it is given up: Retry and Expire. Default: the app's.
	Queue *RetryConfig `json:"queue,omitempty"`
	// To is the one recipient that the copy has in the place of the message's. Placeholders ({env.*}) are resolved when
	// the configuration is loaded. Default: the message's.
	To string `json:"to,omitempty"`
	// Sender is the return path that the copy has in the place of the message's; "<>" is none. Placeholders as in To.
	// Default: the message's.
	Sender string `json:"sender,omitempty"`
	// Notifications has this server's own notifications copied too. Default: only what clients submit.
	Notifications bool `json:"notifications,omitempty"`

	route RouteConfig // its sink, name, matchers and schedule
}

func (c *CopyConfig) provision(ctx caddy.Context, schedule queue.Schedule) error {
	c.route = RouteConfig{MatcherSetsRaw: c.MatcherSetsRaw, Name: c.Name, SinkRaw: c.SinkRaw, Queue: new(RetryConfig)}
	if c.Queue != nil {
		switch {
		case c.Queue.Warn != 0:
			return errors.New("queue: warn: nobody is told of a copy that is late; leave it out")
		case len(c.Queue.Destinations) > 0:
			return errors.New("queue: destination: a copy has one schedule for all; leave it out")
		}
		c.route.Queue = c.Queue
	}
	schedule.Warn = 0
	if err := c.route.provision(ctx, schedule); err != nil {
		return err
	}
	c.SinkRaw, c.MatcherSetsRaw = nil, nil // as after loading
	return c.readdress()
}

// readdress has the copy go to another recipient, or come from another sender.
func (c *CopyConfig) readdress() error {
	other := &readdressed{sink: c.route.sink}
	if c.To != "" {
		a, err := copyAddress(c.To)
		if err != nil {
			return fmt.Errorf("to: %w", err)
		}
		other.to, other.utf8 = a.Exact, a.NeedsUTF8()
	}
	switch c.Sender {
	case "":
	case "<>":
		other.from = new(string)
	default:
		a, err := copyAddress(c.Sender)
		if err != nil {
			return fmt.Errorf("sender: %w", err)
		}
		other.from, other.utf8 = &a.Exact, other.utf8 || a.NeedsUTF8()
	}
	if other.to != "" || other.from != nil {
		c.route.sink = other
	}
	return nil
}

func copyAddress(setting string) (a mailaddr.Address, err error) {
	text, err := conf.Expand(setting)
	if err != nil {
		return a, err
	}
	if a, err = mailaddr.Parse(text, true); err != nil {
		return a, fmt.Errorf("%q is not an address (for example archive@example.org): %w", text, err)
	}
	return a, nil
}

// takes tells whether the copy is to be made of a message. Where that cannot be told it is: an archive that has too
// much is better than one that lacks something.
func (c *CopyConfig) takes(e *queue.Entry, log *zap.Logger) (takes bool) {
	if e.Bounce && !c.Notifications {
		return false
	}
	defer func() {
		if cause := recover(); cause != nil {
			c.untold(e, log, fmt.Errorf("a matcher panicked: %v", cause))
			takes = true
		}
	}()
	for i := range e.Recipients {
		ok, err := c.route.matchers.matchEntry(e, &e.Recipients[i])
		if err != nil {
			c.untold(e, log, err)
			return true
		}
		if ok {
			return true
		}
	}
	return false
}

func (c *CopyConfig) untold(e *queue.Entry, log *zap.Logger, err error) {
	log.Error("a copy is made because its matchers cannot tell", zap.String(fieldQueueID, e.ID), zap.String("copy", c.route.name), zap.Error(err))
}

// Copies implements queue.Copier.
func (d *delivery) Copies(e *queue.Entry) (names []string) {
	srv := d.app.Servers[e.Server]
	if srv == nil {
		return nil
	}
	for _, c := range srv.Copies {
		if c.takes(e, srv.log) {
			names = append(names, c.route.name)
		}
	}
	return names
}

// RouteCopy implements queue.Copier.
func (d *delivery) RouteCopy(ctx context.Context, name string, e *queue.Entry, r *queue.Recipient) (queue.Route, error) {
	if srv := d.app.Servers[e.Server]; srv != nil {
		for _, c := range srv.Copies {
			if c.route.name == name {
				return c.route.to(ctx, e, r, d.app.Queue)
			}
		}
	}
	return queue.Route{}, queue.NoCopy(name)
}

func (srv *Server) provisionCopies(ctx caddy.Context) error {
	for i, c := range srv.Copies {
		if c == nil {
			return fmt.Errorf("the %s copy is empty", places.Ordinal(i+1))
		}
		raw := c.SinkRaw // which loading empties
		if err := srv.item("the "+places.Ordinal(i+1)+" copy", raw, c.provision(ctx, srv.app.Queue.schedule)); err != nil {
			return err
		}
	}
	if len(srv.Copies) == 0 {
		return nil
	}
	for i, r := range srv.Routes {
		if r.Unqueued != nil {
			return srv.item("the "+places.Ordinal(i+1)+" route", nil, errors.New("unqueued: its messages are never in the spool, from which copies are made; leave unqueued out, or give the route a server without copies"))
		}
	}
	return nil
}

// nameCopies names those that have no name, and refuses lanes that would be a route's too.
func (app *App) nameCopies() error {
	routes := make(map[string]bool)
	for name := range app.routeNames {
		first, _, _ := strings.Cut(name, "/")
		routes[first] = true
	}
	for _, srv := range app.Servers {
		named := make(map[string]bool)
		for _, c := range srv.Copies {
			r := &c.route
			if r.name = r.Name; r.name == "" {
				r.name = "copy-" + r.sinkName
			}
			switch {
			case named[r.name]:
				return places.At(srv.lines[""], fmt.Errorf("server %s: two copies have the name %s; give each a name of its own", srv.name, r.name))
			case routes[r.name]:
				return places.At(srv.lines[""], fmt.Errorf("server %s: a copy and a route have the name %s; give each a name of its own", srv.name, r.name))
			}
			named[r.name], app.routeNames[r.name] = true, true
		}
	}
	return nil
}
