// Package httpconsole is the console: pages of an ordinary web site on which people see what the mail submission servers of
// this Caddy do, and steer it. What it shows, it asks of the admin API's own handlers, in this process.
package httpconsole

import (
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

func init() {
	caddy.RegisterModule(new(Console))
	httpcaddyfile.RegisterHandlerDirective("msa_console", parse)
	httpcaddyfile.RegisterDirectiveOrder("msa_console", httpcaddyfile.Before, "respond")
}

// Console serves pages on which people see what the mail submission servers do. Who may see them is the site's business
// (basic_auth, forward_auth, client certificates).
type Console struct {
	// Actions lets people hold, release, retry, reroute, bounce and delete messages, pause, resume and probe lanes, lift
	// blocks and send test messages. Each needs a user whom the site has authenticated ({http.auth.user.id}),
	// whose name is in the log and the journal. Default: they can only look.
	Actions bool `json:"actions,omitempty"`
	// Content lets them read messages, whatever the queue's show_content says; each reading is logged. Default: envelopes only.
	Content bool `json:"content,omitempty"`

	log     *zap.Logger
	streams *streams
}

// CaddyModule returns the Caddy module information.
func (*Console) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.msa_console", New: func() caddy.Module { return new(Console) }}
}

// Provision refuses a configuration that has no mail submission server.
func (c *Console) Provision(ctx caddy.Context) error {
	c.log, c.streams = ctx.Logger(), newStreams()
	if _, err := ctx.AppIfConfigured("msa"); err != nil {
		return errors.New("msa_console shows the mail submission servers of this configuration, and there are none; add a global option msa")
	}
	return nil
}

// Cleanup ends what is open.
func (c *Console) Cleanup() error {
	c.streams.close()
	return nil
}

// headers are every answer's. Nothing comes from elsewhere, and nothing is in the pages that scripts or styles are made of.
var headers = map[string]string{
	"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
	"X-Content-Type-Options":  "nosniff",
	"X-Frame-Options":         "DENY",
	"Referrer-Policy":         "same-origin",
	"Cache-Control":           "no-store",

	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "same-origin",
}

// ServeHTTP answers for a page by the last part of the path, so that the console works under any prefix, stripped or not: all
// links are relative.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	for name, value := range headers {
		w.Header().Set(name, value)
	}
	name := lastPart(r.URL.Path)
	if serveAsset(w, r, name) {
		return nil
	}
	v := c.visit(r)
	var err error
	switch name {
	case "events":
		err = v.stream(w)
	default:
		p := pages[name]
		if p == nil {
			err = caddyhttp.Error(http.StatusNotFound, errors.New("there is no such page"))
			break
		}
		err = v.page(w, p)
	}
	if err != nil {
		v.fail(w, err)
	}
	return nil
}

// parse reads the directive. Syntax:
//
//	msa_console [<matcher>] {
//		actions
//		content
//	}
func parse(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	c := new(Console)
	return c, c.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile sets up the console from Caddyfile tokens; see parse.
func (c *Console) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the directive name
	return conf.Block(d, conf.Flag("actions", &c.Actions), conf.Flag("content", &c.Content))
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Console)(nil)
	_ caddy.CleanerUpper          = (*Console)(nil)
	_ caddyhttp.MiddlewareHandler = (*Console)(nil)
	_ caddyfile.Unmarshaler       = (*Console)(nil)
)
