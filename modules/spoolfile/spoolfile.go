// Package spoolfile keeps the spool on the local disk: messages that were
// accepted and not yet delivered. Small ones lie in an embedded store (pebble),
// whose log is synced once for all that arrive together; a large body has a file.
package spoolfile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
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

	// Reserve is how many octets of the disk stay free: with less, messages are refused (452 4.3.1) while
	// deliveries go on. Default: 64 MiB; negative for none.
	Reserve int64 `json:"reserve,omitempty"`
	// MaxMessages is how many messages the spool takes at most. Default: as many as there is room for.
	MaxMessages int64 `json:"max_messages,omitempty"`
	// MaxSize is how many octets of messages the spool takes at most. Default: as the disk holds.
	MaxSize int64 `json:"max_size,omitempty"`

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
	if f.MaxMessages < 0 || f.MaxSize < 0 {
		return errors.New("spool file: max_messages and max_size must not be negative; leave them out for no limit")
	}
	if f.Path == "" {
		dir, err := filepath.Abs(filepath.Join(caddy.AppDataDir(), "msa", "spool"))
		f.dir = dir
		return err
	}
	dir, err := conf.Directory(f.Path)
	if err != nil {
		return fmt.Errorf("spool file: path %q: %w", f.Path, err)
	}
	f.dir = dir
	return nil
}

// Key is the directory: configurations that name the same one share its spool.
func (f *FileSpool) Key() string { return "file:" + f.dir }

// Exists implements caddymsa.SpoolFinder.
func (f *FileSpool) Exists() (bool, error) {
	_, err := os.Stat(filepath.Join(f.dir, "store"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func (f *FileSpool) options(log *zap.Logger) Options {
	return Options{Reserve: f.Reserve, MaxMessages: f.MaxMessages, MaxOctets: f.MaxSize, Log: log}
}

// Adjust implements caddymsa.SpoolAdjuster.
func (f *FileSpool) Adjust(spool queue.OpenSpool) {
	if s, ok := spool.(*Store); ok {
		s.Adjust(f.options(nil))
	}
}

// Open opens the spool, which must not be open in another process.
func (f *FileSpool) Open(_ context.Context, log *zap.Logger) (queue.OpenSpool, error) {
	s, err := Open(f.dir, f.options(log))
	if err != nil {
		return nil, err
	}
	return s, nil
}

// UnmarshalCaddyfile sets up the spool from Caddyfile tokens. Syntax:
//
//	spool file [<directory>] {
//		reserve      <size>
//		max_messages <count>
//		max_size     <size>
//	}
func (f *FileSpool) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the spool's name
	if d.NextArg() {
		f.Path = d.Val()
		if err := conf.NoEmpty(f.Path); err != nil {
			return d.Errf("directory: %w", err)
		}
	}
	return conf.Block(d,
		conf.Size("reserve", &f.Reserve),
		conf.Count("max_messages", &f.MaxMessages),
		conf.Size("max_size", &f.MaxSize),
	)
}

// Interface guards
var (
	_ caddy.Provisioner      = (*FileSpool)(nil)
	_ caddyfile.Unmarshaler  = (*FileSpool)(nil)
	_ caddymsa.SpoolModule   = (*FileSpool)(nil)
	_ caddymsa.SpoolAdjuster = (*FileSpool)(nil)
)
