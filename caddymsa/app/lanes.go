package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/app/places"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// stampRoutes says what routes the configuration has, and for how long it tries: when it was loaded, and a hash of that. It
// must be called before modules are loaded, which forget their JSON.
func (app *App) stampRoutes(now time.Time) error {
	type routes struct {
		Routes  []*RouteConfig
		Bounces *RouteConfig
		Copies  []*CopyConfig `json:",omitempty"`
	}
	all := make(map[string]routes, len(app.Servers))
	for name, srv := range app.Servers {
		if srv != nil {
			all[name] = routes{srv.Routes, srv.Bounces, srv.Copies}
		}
	}
	b, err := json.Marshal(all)
	if err != nil {
		return err
	}
	// What waits is given up and warned of by the app's times, as by those of its route. By default they are no part of
	// the hash, as they were not before: what waits need not all be looked at.
	if times, err := json.Marshal(app.Queue.RetryConfig); err != nil {
		return err
	} else if string(times) != "{}" {
		b = append(b, times...)
	}
	sum := sha256.Sum256(b)
	app.stamp = fmt.Sprintf("%013d-%s", now.UnixMilli(), hex.EncodeToString(sum[:8]))
	return nil
}

// nameRoutes gives routes without a name their sink's, with the destination where there are several
// of one sink. Routes of one name and destination share a lane.
func (app *App) nameRoutes() error {
	sinks := make(map[string]int)
	app.routeNames = make(map[string]bool)
	for _, srv := range app.Servers {
		named := make(map[string]bool)
		for _, r := range srv.allRoutes() {
			if r.Name == "" {
				sinks[r.sinkName]++
				continue
			}
			if named[r.Name] {
				return places.At(srv.lines[""], fmt.Errorf("server %s: route name %s is specified twice; give each route a name of its own", srv.name, r.Name))
			}
			named[r.Name] = true
		}
	}
	for _, srv := range app.Servers {
		for _, r := range srv.allRoutes() {
			if r.name = r.Name; r.name == "" {
				r.name = r.sinkName
				if d := r.destination(); d != "" && sinks[r.sinkName] > 1 {
					r.name += "/" + laneText(d)
				}
			}
			app.routeNames[r.name] = true
		}
	}
	return app.nameCopies()
}

func (srv *Server) allRoutes() []*RouteConfig {
	all := srv.Routes[:len(srv.Routes):len(srv.Routes)]
	if srv.Bounces != nil {
		all = append(all, srv.Bounces)
	}
	return all
}

// checkName refuses a name that would make lanes ambiguous or a log line unreadable.
func (r *RouteConfig) checkName() error {
	if strings.ContainsFunc(r.Name, func(c rune) bool { return c <= ' ' || c == '/' || c == 0x7f }) || len(r.Name) > 64 {
		return fmt.Errorf("name: %q is not a name of up to 64 letters, digits, dots and dashes (for example smarthost)", r.Name)
	}
	return nil
}

// destination is where all messages of the sink go, if that is one place.
func (r *RouteConfig) destination() string {
	name, _ := r.onlyDestination()
	return name
}

// onlyDestination also tells whether it is one place, which may have no name.
func (r *RouteConfig) onlyDestination() (name string, one bool) {
	sink := r.sink
	if m, ok := sink.(*mappedSink); ok {
		sink = m.sink
	}
	d, ok := sink.(queue.Destinations)
	if !ok {
		return "", true
	}
	a, b := queue.Recipient{Address: "a@one.invalid"}, queue.Recipient{Address: "b@two.invalid"}
	if name = d.Destination(new(queue.Entry), &a).Name; name == d.Destination(new(queue.Entry), &b).Name {
		return name, true
	}
	return "", false
}

// leadsTo tells whether the route's messages go to the lane, or may where their recipients say where.
func (r *RouteConfig) leadsTo(lane string) bool {
	if name, one := r.onlyDestination(); one {
		return lane == r.laneTo(name)
	}
	return strings.HasPrefix(lane, r.name+"/") && lane == r.laneTo(lane[len(r.name)+1:])
}

// laneTo is the route's lane to a destination.
func (r *RouteConfig) laneTo(destination string) string {
	if name := laneText(destination); name != "" && !strings.HasSuffix(r.name, "/"+name) {
		return r.name + "/" + name
	}
	return r.name
}

// to is where the route takes a recipient.
func (r *RouteConfig) to(ctx context.Context, e *queue.Entry, rcpt *queue.Recipient, app *QueueConfig) (queue.Route, error) {
	route := queue.Route{Sink: r.sink, Name: r.name, Schedule: r.scheduleOf(rcpt, app)}
	var err error
	switch sink := r.sink.(type) {
	case *mappedSink:
		route.Destination, err = sink.destination(ctx, e, rcpt)
	case queue.Destinations:
		route.Destination = sink.Destination(e, rcpt)
	}
	route.Lane = r.laneTo(route.Destination.Name)
	return route, err
}

// maxLaneText is what PostgreSQL can index, and more than a table has room for.
const maxLaneText = 200

// laneText makes a destination's name fit for a log line, a table and a database.
func laneText(name string) string {
	text := strings.Map(func(c rune) rune {
		if c <= ' ' || c == 0x7f {
			return '_'
		}
		return c
	}, name)
	if len(text) <= maxLaneText {
		return text
	}
	sum := sha256.Sum256([]byte(name))
	return strings.ToValidUTF8(text[:maxLaneText-17], "") + "~" + hex.EncodeToString(sum[:8])
}
