// Package layer4msa gives connections of caddy-l4 to a server of the msa app, so that submission and web sites
// can have one port. It is not among what the root package imports, since not everybody wants caddy-l4.
package layer4msa

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/mholt/caddy-l4/layer4"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/running"
)

func init() { caddy.RegisterModule(new(Handler)) }

// Handler gives a connection to a server of the msa app, whose session it is from then on: with the server's
// limits, time-outs and configuration, and across reloads.
//
// A client that has begun a TLS handshake gets the server's, with its certificate and connection policies. With
// the handler tls before this one, that is done already; then layer4's connection policies decide. Any other client
// is greeted in clear text and has to send STARTTLS, as on port 587.
type Handler struct {
	// Server is the name of a server of the msa app. Required.
	Server string `json:"server,omitempty"`

	log *zap.Logger
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "layer4.handlers.msa", New: func() caddy.Module { return new(Handler) }}
}

// Provision checks that there is such a server, and that it is not about to be given its own connections.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.log = ctx.Logger()
	for _, parent := range ctx.Modules() {
		if parent.CaddyModule().ID == "msa" {
			return errors.New("msa: is not possible in an msa server's own listener_wrappers, since the connection is its own already; route in an HTTP server's, or in the layer4 app")
		}
	}
	if h.Server == "" {
		return errors.New("msa: server is required: the name of an msa server, as in msa msa.example.org")
	}
	if err := running.Check(ctx, h.Server); err != nil {
		return fmt.Errorf("msa: %w", err)
	}
	return nil
}

// Handle returns when the session has ended.
func (h *Handler) Handle(cx *layer4.Connection, _ layer4.Handler) error {
	if network := cx.LocalAddr().Network(); strings.HasPrefix(network, "udp") {
		return fmt.Errorf("msa: SMTP needs a stream, and the connection is of %s; listen on tcp", network)
	}
	c := running.Handed{Conn: stream{cx}, TLS: handshake(cx)}
	c.Implicit = c.TLS == nil && beginsTLS(cx.MatchingBytes())
	server, ok := running.Server[running.Connections](h.Server)
	if !ok { // the msa app starts after layer4, or has stopped before it
		h.log.Debug("the msa server does not run", zap.String("server", h.Server))
		return unavailable(c)
	}
	server.ServeConn(c)
	return nil
}

// unavailable tells a client that can hear it to come again.
func unavailable(c running.Handed) error {
	if !c.Implicit {
		_, _ = c.Write([]byte("421 4.3.2 Service not available, try again later\r\n"))
	}
	return c.Close()
}

// beginsTLS tells whether a client has sent a handshake's first octets (RFC 8446 section 5.1). They are there if a
// matcher has looked at them.
func beginsTLS(first []byte) bool { return bytes.HasPrefix(first, []byte{22, 3}) }

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	msa <server>
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the handler's name
	if !d.AllArgs(&h.Server) {
		return d.Err("msa takes the name of a server, as in: msa msa.example.org")
	}
	running.NamedAt(d, h.Server)
	if d.NextBlock(d.Nesting()) {
		return d.Err("msa: takes no block")
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Handler)(nil)
	_ layer4.NextHandler    = (*Handler)(nil)
	_ caddyfile.Unmarshaler = (*Handler)(nil)
)
