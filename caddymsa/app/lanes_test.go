package app

import (
	"context"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// namedSink has one destination of a name, whatever that consists of.
type namedSink string

func (namedSink) Deliver(context.Context, *queue.Delivery) error { return nil }

func (s namedSink) Destination(*queue.Entry, *queue.Recipient) queue.Destination {
	return queue.Destination{Name: string(s)}
}

// Routes and lanes are named in logs, tables and databases, also where several routes of one sink go to programs with
// arguments: PostgreSQL takes no NUL, nor does its index take any length.
func TestNamesOfRoutesAndLanes(t *testing.T) {
	t.Parallel()
	long := "/bin/program " + strings.Repeat("ä", 5000)
	sinks := []namedSink{"/bin/program\x00-a\x00b", "/bin/program\x00-a\nc", "/bin/program\xff", namedSink(long), namedSink(long + "b")}
	srv := new(Server)
	for _, s := range sinks {
		srv.Routes = append(srv.Routes, &RouteConfig{sink: s, sinkName: "pipe"})
	}
	app := &App{Servers: map[string]*Server{"msa.example.org": srv}}
	if err := app.nameRoutes(); err != nil {
		t.Fatal(err)
	}
	lanes := make(map[string]bool)
	for _, r := range srv.Routes {
		to, err := r.to(context.Background(), new(queue.Entry), new(queue.Recipient), new(QueueConfig))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{r.name, to.Lane} {
			if !strings.HasPrefix(name, "pipe//bin/program") || len(name) > 300 || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) {
				t.Errorf("%q", name)
			}
		}
		if to.Lane != r.name {
			t.Errorf("the lane of route %s is %s", r.name, to.Lane)
		}
		lanes[to.Lane] = true
	}
	if len(lanes) != len(sinks) {
		t.Errorf("%d lanes of %d destinations: %v", len(lanes), len(sinks), lanes)
	}
}

// placeOf has a destination for each domain, as mx has.
type placeOf struct{}

func (placeOf) Deliver(context.Context, *queue.Delivery) error { return nil }

func (placeOf) Destination(_ *queue.Entry, r *queue.Recipient) queue.Destination {
	_, domain, _ := strings.Cut(r.Address, "@")
	return queue.Destination{Name: domain}
}

// What lanes there are is known before anything goes there, so that they can be paused.
func TestExpectedLanes(t *testing.T) {
	t.Parallel()
	srv := &Server{Routes: []*RouteConfig{{sink: namedSink("hop:25"), Name: "one"}, {sink: placeOf{}, Name: "many"}, {sink: namedSink(""), sinkName: "maildir"}, {sink: namedSink("a"), sinkName: "relay"}, {sink: namedSink("b"), sinkName: "relay"}},
		Bounces: &RouteConfig{sink: namedSink("out"), Name: "back"}}
	app := &App{Servers: map[string]*Server{"msa.example.org": srv}}
	if err := app.nameRoutes(); err != nil {
		t.Fatal(err)
	}
	d := &delivery{app: app}
	for lane, want := range map[string]bool{"one/hop:25": true, "one": false, "one/hop:26": false, "many/example.org": true, "many/": false, "many": false, "maildir": true, "maildir/x": false,
		"relay/a": true, "relay": false, "relay/c": false, "back/out": true, "": false} {
		if d.Expects(lane) != want {
			t.Errorf("%q: %t", lane, !want)
		}
	}
}
