// Package httpsubmit takes messages by HTTP, for an msa server: by the same rules and into the same queue as
// those that come by SMTP.
//
// Reading order: httpsubmit.go (what is asked), security.go and login.go (by whom), post.go with envelope.go,
// headerenvelope.go and document.go (JSON, with jsonreader.go, contents.go and spill.go), build.go (a message) with fold.go, own.go (what
// became of it), problem.go (what is answered).
package httpsubmit

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/running"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
)

func init() {
	caddy.RegisterModule(new(Submit))
	httpcaddyfile.RegisterHandlerDirective("msa_submit", parseCaddyfile)
	httpcaddyfile.RegisterDirectiveOrder("msa_submit", httpcaddyfile.Before, "respond")
}

// Submit takes messages from clients of a web site, tells them what became of theirs, and takes those back that
// are not delivered yet. Clients log in as they do by SMTP, with Basic or Bearer; what is in force for messages there
// is in force here. It answers everything that it is given, so put it into a handle of its own.
//
// Credentials are taken by HTTPS only, and in clear text from this host itself. Behind a proxy that ends TLS, name
// it in the web server's trusted_proxies: its X-Forwarded-Proto counts then.
type Submit struct {
	// Server is the name of the msa server that takes the messages. Required.
	Server string `json:"server,omitempty"`
	// JSONSize is how many octets are held in memory of a message that comes as JSON: names, addresses and header
	// fields. Text, HTML and attachments are not held, and have the server's limit of a message alone. At most 67108864. Default: 4194304.
	JSONSize int64 `json:"json_size,omitempty"`

	log *zap.Logger
}

// CaddyModule returns the Caddy module information.
func (*Submit) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.msa_submit", New: func() caddy.Module { return new(Submit) }}
}

// Provision looks whether there is such a server.
func (h *Submit) Provision(ctx caddy.Context) error {
	h.log = terminal.Logger(ctx.Logger())
	if h.Server == "" {
		return errors.New("msa_submit: the name of an msa server is required")
	}
	if err := conf.SetDefault(&h.JSONSize, 4<<20, "msa_submit: json_size"); err != nil {
		return err
	}
	if h.JSONSize > inMemory {
		return fmt.Errorf("msa_submit: json_size: at most %d, which all messages together have", inMemory)
	}
	return running.Check(ctx, h.Server)
}

// ServeHTTP answers a request. What it is for stands behind the last slash of the path: nothing, or a message's
// queue id.
func (h *Submit) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	w.Header().Set("Cache-Control", "no-store")
	if r.ProtoMajor == 1 && r.Header.Get("Expect") != "" { // until the body is asked for
		// Go would wait for a body that the client does not send before it sends the refusal.
		w.Header().Set("Connection", "close")
	}
	if err := h.serve(w, r); err != nil {
		h.answer(w, r, err)
	}
	return nil
}

func (h *Submit) serve(w http.ResponseWriter, r *http.Request) error {
	id := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	switch {
	case id == "openapi.json":
		return describe(w, r)
	case id == "" && r.Method != http.MethodPost:
		return notAllowed(w, http.MethodPost)
	case id != "" && r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodDelete:
		return notAllowed(w, http.MethodGet, http.MethodHead, http.MethodDelete)
	}
	if err := secure(r); err != nil {
		return err
	}
	server, ok := running.Server[running.Submission](h.Server)
	if !ok {
		return errNotRunning
	}
	// Not the request's: a stranger that leaves would look like a backend that cannot tell.
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	defer cancel()
	visitor, err := server.Admit(&running.Client{Addr: addressOf(r), TLS: r.TLS, MakeRoom: cancel})
	if err != nil {
		return err
	}
	defer visitor.Leave()
	submitter, err := login(ctx, visitor, w, r, h.Server)
	if err != nil {
		drain(w, r, strangersBody, false)
		return err
	}
	switch r.Method {
	case http.MethodPost:
		return h.post(r.Context(), submitter, w, r)
	case http.MethodDelete:
		return takeBack(r.Context(), submitter, w, id)
	}
	return show(r.Context(), submitter, w, id)
}

func parseCaddyfile(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	s := new(Submit)
	return s, s.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	msa_submit [<matcher>] <server> {
//		json_size <size>
//	}
func (h *Submit) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the directive's name
	if !d.Args(&h.Server) {
		return d.Err("the name of an msa server is missing, as in msa_submit msa.example.org")
	}
	running.NamedAt(d, h.Server)
	return conf.Block(d, conf.Size("json_size", &h.JSONSize))
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Submit)(nil)
	_ caddyhttp.MiddlewareHandler = (*Submit)(nil)
	_ caddyfile.Unmarshaler       = (*Submit)(nil)
)
