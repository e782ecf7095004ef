// Package mapfile maps addresses by a file.
package mapfile

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
	"github.com/caddy-msa/caddy-msa/caddymsa/watch"
)

func init() {
	caddy.RegisterModule(new(File))
}

// File maps addresses by the lines of a file, a logical and an actual address each:
//
//	xyz@otpnet.nl   abc@xyz.nl
//	@sales.example  @shop.example   # every address of the domain, with its local part
//
// An address goes before its domain, and stands for its plus-addresses, which keep their tags. Of several logical addresses for one actual one, a sender gets
// the first. The file is read again when it changes; one that cannot be read leaves what was read before.
type File struct {
	// Path of the file. Required. Placeholders ({env.*}) are resolved when the config is loaded.
	Path string `json:"path,omitempty"`
	// Case is how local parts compare: fold, without regard to case, or exact. Default fold.
	Case names.Case `json:"case,omitempty"`

	file *watch.File[*table]
	log  *zap.Logger
}

// files are the maps in memory, by how local parts compare in them.
var files = map[names.Case]*watch.Source[*table]{names.Folded: source(names.Folded), names.Exact: source(names.Exact)}

func source(c names.Case) *watch.Source[*table] {
	return &watch.Source[*table]{Parse: func(r io.Reader, name string, size int64, _ *table) (*table, error) { return read(r, name, size, c) }}
}

// CaddyModule returns the Caddy module information.
func (*File) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.address_maps.file", New: func() caddy.Module { return new(File) }}
}

// Provision reads the file.
func (m *File) Provision(ctx caddy.Context) (err error) {
	m.log = terminal.Logger(ctx.Logger())
	if m.Path == "" {
		return errors.New("file: a path is required, as in: address_map file /etc/caddy/addresses.map")
	}
	path, err := conf.Expand(m.Path)
	if err != nil {
		return fmt.Errorf("file: path: %w", err)
	}
	if m.file, err = files[m.Case].Open(path, m.log, m.changed); err != nil {
		return fmt.Errorf("file: %w", err)
	}
	m.warn(m.file.Load())
	return nil
}

func (m *File) changed(t *table, err error) {
	if err != nil {
		m.log.Error("the address map cannot be read; what was read before stays in force", zap.Error(err))
		return
	}
	m.warn(t)
	m.log.Info("the address map was read again", zap.String("file", m.Path), zap.Int("addresses", t.pairs))
}

func (m *File) warn(t *table) {
	for _, address := range t.again {
		m.log.Warn("an actual address is a logical one too; addresses are translated once, so that it stays as it is",
			zap.String("address", address), zap.String("file", m.Path), zap.Int("more", t.moreAgain))
	}
}

// Actual implements caddymsa.AddressMap.
func (m *File) Actual(_ context.Context, logical mailaddr.Address) (string, bool, error) {
	to, ok := m.file.Load().translate(false, logical)
	return to, ok, nil
}

// Logical implements caddymsa.AddressMap.
func (m *File) Logical(_ context.Context, actual mailaddr.Address) (string, bool, error) {
	to, ok := m.file.Load().translate(true, actual)
	return to, ok, nil
}

// Cleanup ends the watch.
func (m *File) Cleanup() error {
	if m.file == nil {
		return nil
	}
	return m.file.Close()
}

// UnmarshalCaddyfile sets up the map from Caddyfile tokens. Syntax:
//
//	address_map file <path> {
//		case fold|exact
//	}
func (m *File) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the map's name
	if !d.AllArgs(&m.Path) {
		return d.Err("file takes a path, as in: address_map file /etc/caddy/addresses.map")
	}
	return conf.Block(d, conf.Value("case", &m.Case))
}

// Interface guards
var (
	_ caddy.Provisioner     = (*File)(nil)
	_ caddy.CleanerUpper    = (*File)(nil)
	_ caddyfile.Unmarshaler = (*File)(nil)
	_ caddymsa.AddressMap   = (*File)(nil)
)
