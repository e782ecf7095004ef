package ticket

import (
	"context"
	"encoding/json"
	"os"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func init() {
	caddy.RegisterModule(new(Append))
}

// Append is a handler of Caddy's events that appends each to a file, as a line of JSON. Caddy itself has no handler
// that does something with an event: one of your own is this little.
type Append struct {
	// Path of the file, which is made if there is none.
	Path string `json:"path,omitempty"`

	mu sync.Mutex
}

// CaddyModule returns the Caddy module information.
func (*Append) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.append", New: func() caddy.Module { return new(Append) }}
}

// Handle is called for one event after the other. caddy-msa's are handed on beside the work that they are about, so a
// client waits for nothing that is done here.
func (a *Append) Handle(_ context.Context, e caddy.Event) error {
	line, err := json.Marshal(struct {
		Event string         `json:"event"`
		Data  map[string]any `json:"data"`
	}{e.Name(), e.Data})
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	f, err := os.OpenFile(a.Path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	append <path>
func (a *Append) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the handler's name
	if !d.AllArgs(&a.Path) {
		return d.ArgErr()
	}
	return nil
}
