package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/app/gate"
	"github.com/caddy-msa/caddy-msa/caddymsa/app/tally"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/running"
)

// App is the app, as far as the admin API needs it.
type App interface {
	// EnterAdmin hands over what the app works with, and keeps it open until leave is called; the context that it returns
	// ends when another configuration cannot wait any longer. It returns false when one is about to take over.
	EnterAdmin(parent context.Context) (ctx context.Context, part *Part, leave func(), ok bool)
}

// Part is what the app in charge works with.
type Part struct {
	Log         *zap.Logger
	Store               // that is accepted into
	Former      []Store // that are emptied
	ShowContent bool
	// OpenSpool opens a spool by its name (package spoolname), or joins the one that is open. The key is its name whenever it is opened.
	// With existing, one that would be made is an error.
	OpenSpool func(ctx context.Context, name string, existing bool) (key string, spool queue.OpenSpool, leave func(), err error)
	Servers   []Server // by name
	// Notifiers is how far others were told of messages.
	Notifiers func() []adminapi.Notifier
	// Journal is how much is kept of what became of messages.
	Journal journal.Limits
	// InForce is the configuration.
	InForce func() (*adminapi.Servers, error)
	// Tallies are what happened lately.
	Tallies Tallies
	// SpoolModule is what has opened the Store, and Left are spools that nobody has open, with messages in them perhaps.
	SpoolModule any
	Left        func() []string
	// Held is told of a message that the operator has put on hold.
	Held func(e *queue.Entry, reason, by string)
}

// Tallies are what this process counted.
type Tallies struct {
	Rates    *tally.Rates
	Refusals *tally.Refusals
}

// Store is a spool and the queue that empties it.
type Store struct {
	Key   string // the spool's
	Spool queue.OpenSpool
	Queue *queue.Queue
}

// all returns the store that is accepted into, then the former ones.
func (p *Part) all() []Store { return append([]Store{p.Store}, p.Former...) }

// having returns the store that has a message: the one that is accepted into, unless a former one has it.
func (p *Part) having(ctx context.Context, id string) Store {
	for _, s := range p.Former {
		if _, err := s.Spool.Get(ctx, id); err == nil {
			return s
		}
	}
	return p.Store
}

// Server is a server, as far as the admin API needs it.
type Server struct {
	Name, Hostname string
	Backends       []Backend     // in the order in which they are asked
	Mechanisms     []string      // that are offered
	Realms         []string      // of DIGEST-MD5
	Timeout        time.Duration // of a question to a backend
	TLS            *tls.Config   // of its handshakes; nil before they begin
	Listeners      running.Listeners
	Keys           []caddymsa.KeyRecord // that its policies sign with
	Egress         []netip.Addr         // that its mail comes from, as far as that is known
	KeepsKey       bool                 // when its certificate is renewed
	Gate           *gate.Gate
	Throttle       *gate.Throttle
	Patient        func() Patient
	// Quotas is what its policies leave who comes from an address, which may be invalid.
	Quotas func(ctx context.Context, id caddymsa.Identity, ip netip.Addr) []adminapi.PolicyQuota
}

// Patient is what the doctor looks at of a server.
type Patient struct {
	Modules     []Examined // beside the backends
	MessageSize int64
	Connections int
	Proxies     []netip.Prefix // that may say who their clients are
	Behind      bool           // this machine is one of them
	// Certificates that are in files.
	Certificates []CertificateFiles
}

// CertificateFiles are the paths of a certificate and its key.
type CertificateFiles struct{ Certificate, Key string }

// Examined is a module, and how findings name it.
type Examined struct {
	Subject string
	Module  any
}

// Backend is an auth backend.
type Backend struct {
	ID     string
	Module any
	Reload func(context.Context) error // reads its data again
}

// server returns a server by its name, which is a hostname mostly and may be typed in any case, or nil.
func (p *Part) server(name string) (found *Server) {
	for i := range p.Servers {
		switch s := &p.Servers[i]; {
		case s.Name == name:
			return s
		case strings.EqualFold(s.Name, name):
			found = s
		}
	}
	return found
}

// serverNamed is the spelling of a server's name in the configuration; an empty name stays so, as it means all of them.
func (p *Part) serverNamed(name string) (string, error) {
	if name == "" {
		return "", nil
	}
	if s := p.server(name); s != nil {
		return s.Name, nil
	}
	return "", caddy.APIError{HTTPStatus: http.StatusNotFound, Err: p.noServer(name)}
}

// noServer says that there is no server of a name, and which there are.
func (p *Part) noServer(name string) error {
	names := make([]string, len(p.Servers))
	for i := range p.Servers {
		names[i] = p.Servers[i].Name
	}
	return fmt.Errorf("there is no server %q; the configuration has %s", name, conf.And(names))
}

// withApp calls f with the app in charge at this moment, whose modules stay until f returns.
func withApp[A any](ctx context.Context, f func(context.Context, *Part) (A, error)) (answer A, err error) {
	var app App
	for {
		before := app
		if app, err = inCharge(ctx); err != nil {
			return answer, err
		}
		if app == before { // it takes nothing any more, and none has come after it
			return answer, caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: errors.New("the configuration is being replaced, try again")}
		}
		if entered, part, leave, ok := app.EnterAdmin(ctx); ok {
			defer leave()
			return f(entered, part)
		}
	}
}

// inCharge is the app that answers: of the configuration that Caddy runs or, for who asks within the process, the one that has
// started last, which is the same but for the moments in which Caddy changes over.
func inCharge(ctx context.Context) (App, error) {
	if ctx.Value(inProcessKey{}) != nil {
		if app, ok := running.App[App](); ok {
			return app, nil
		}
		return nil, caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: errors.New("the mail submission server is not running yet; try again in a moment")}
	}
	v, err := caddy.ActiveContext().AppIfConfigured("msa")
	if err != nil {
		return nil, caddy.APIError{HTTPStatus: http.StatusNotFound, Err: errors.New("there is no mail submission server in the configuration that is running (the app msa)")}
	}
	return v.(App), nil
}
