// Package spoolfile keeps the spool on the local disk: messages that were
// accepted and not yet delivered. Small ones lie in an embedded store (pebble),
// whose log is synced once for all that arrive together; a large body has a file.
package spoolfile

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func init() {
	caddy.RegisterModule(new(FileSpool))
}

// FileSpool keeps accepted messages in a directory of the local disk until they
// are delivered. Acceptance is confirmed when the message is on stable storage:
// the disk, and its file system, must honour fsync.
type FileSpool struct {
	// Path of the directory. It is made if there is none, with mode 0700, and
	// belongs to one running Caddy. Default: `msa/spool` in Caddy's data directory.
	// Placeholders are resolved once, when the config is loaded.
	Path string `json:"path,omitempty"`

	dir string // Path without placeholders, absolute
}

// CaddyModule returns the Caddy module information.
func (*FileSpool) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "msa.spools.file",
		New: func() caddy.Module { return new(FileSpool) },
	}
}

// Provision resolves the path. It opens nothing: a configuration is also
// validated while another process has the spool open.
func (f *FileSpool) Provision(caddy.Context) error {
	if f.Path == "" {
		f.dir = filepath.Join(caddy.AppDataDir(), "msa", "spool")
	} else {
		path, err := caddy.NewReplacer().ReplaceOrErr(f.Path, true, true)
		if err != nil {
			return fmt.Errorf("spool file: path %q: %w", f.Path, err)
		}
		f.dir = path
	}
	dir, err := filepath.Abs(f.dir)
	if err != nil {
		return fmt.Errorf("spool file: path %q: %w", f.Path, err)
	}
	f.dir = dir
	return nil
}

// Key is the directory: configurations that name the same one share its spool.
func (f *FileSpool) Key() string { return "file:" + f.dir }

// Open opens the spool, which must not be open in another process.
func (f *FileSpool) Open(_ context.Context, log *zap.Logger) (queue.OpenSpool, error) {
	s, err := Open(f.dir, Options{Log: log})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// UnmarshalCaddyfile sets up the spool from Caddyfile tokens. Syntax:
//
//	spool file [<directory>]
func (f *FileSpool) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the spool's name
	if d.NextArg() {
		f.Path = d.Val()
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	if d.NextBlock(d.Nesting()) {
		return d.Errf("spool file has no option %q", d.Val())
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*FileSpool)(nil)
	_ caddyfile.Unmarshaler = (*FileSpool)(nil)
)
