// Package sinkdirectory writes messages and their envelopes as files.
package sinkdirectory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/durable"
	"github.com/caddy-msa/caddy-msa/caddymsa/envelope"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func init() {
	caddy.RegisterModule(new(Directory))
}

// Directory writes each delivery as two files: <key>.eml, the message octet for octet behind the
// trace fields, and then <key>.json, its envelope. Each appears whole, under its name, or not at
// all, and has been synced when it does: a reader takes the .json files, whose .eml is there
// already. The key is the same in every attempt, so that a delivery that was not recorded writes
// over itself. Files have mode 0600, directories that have to be made 0700.
type Directory struct {
	// Path is the directory. Required. Placeholders ({env.*}, {file.*}) are resolved once, when
	// the config is loaded. A relative path begins at the working directory.
	Path string `json:"path,omitempty"`

	path string
}

// CaddyModule returns the Caddy module information.
func (*Directory) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.sinks.directory", New: func() caddy.Module { return new(Directory) }}
}

// Provision resolves the path. Nothing is made on disk before the first message.
func (s *Directory) Provision(caddy.Context) error {
	if s.Path == "" {
		return errors.New("directory: a path is required, such as /srv/declarations")
	}
	var err error
	if s.path, err = conf.Directory(s.Path); err != nil {
		return fmt.Errorf("directory: path: %w", err)
	}
	return nil
}

// Deliver writes both files. Where no file can be made, all messages wait; an error in the midst of one, such as that the disk is full,
// may be for it alone. Errors begin with a word of this sink's own, and not with a file's name: the queue takes those of two users for
// one if they are alike but for names and numbers, which it leaves out from the third word on.
func (s *Directory) Deliver(ctx context.Context, d *queue.Delivery) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.prepare(); err != nil {
		return queue.Unreachable(err)
	}
	m, err := d.Open()
	if err != nil {
		return fmt.Errorf("open message: %w", err)
	}
	defer m.Close()
	v := envelope.Of(d)
	if err := s.write(ctx, v.Key+".eml", func(w io.Writer) error {
		_, err := io.Copy(w, contextReader{ctx, m})
		return err
	}); err != nil {
		return fmt.Errorf("directory: %w", err)
	}
	if err := s.write(ctx, v.Key+".json", func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	}); err != nil {
		return fmt.Errorf("directory: %w", err)
	}
	for _, r := range d.Recipients {
		d.Answered(r, queue.Answer{Reply: "stored in " + s.path, ID: v.Key})
	}
	return nil
}

// prepare makes the directory durable, if it has to be made.
func (s *Directory) prepare() error {
	if _, err := os.Stat(s.path); err == nil {
		return nil
	}
	return durable.MkdirAll(s.path, 0o700)
}

// write makes a file under a hidden name, syncs it and gives it its own.
func (s *Directory) write(ctx context.Context, name string, content func(io.Writer) error) (err error) {
	hidden := filepath.Join(s.path, "."+name) // the same in every attempt: a crash leaves no more than one
	f, err := create(hidden)
	if err != nil {
		return queue.Unreachable(err)
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close() // the next attempt removes it
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close() // it may be closed already
			if durable.Owns(info, os.Lstat, hidden) == nil {
				_ = os.Remove(hidden)
			}
		}
	}()
	if err := content(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := durable.Owns(info, os.Lstat, hidden); err != nil {
		return err
	}
	if err := os.Rename(hidden, filepath.Join(s.path, name)); err != nil {
		return err
	}
	return durable.SyncDir(os.Open, s.path)
}

// create opens a new file for writing. What a crashed attempt left there goes.
func create(path string) (*os.File, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

// contextReader ends with its context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// UnmarshalCaddyfile sets up the sink from Caddyfile tokens. Syntax:
//
//	directory <path>
func (s *Directory) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the sink's name
	if !d.AllArgs(&s.Path) {
		return d.Err("directory takes a path, such as /srv/declarations")
	}
	return conf.Block(d)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Directory)(nil)
	_ queue.Sink            = (*Directory)(nil)
	_ caddyfile.Unmarshaler = (*Directory)(nil)
)
