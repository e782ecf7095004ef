// Package mapfile maps addresses by a file.
package mapfile

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
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
// An address goes before its domain. Of several logical addresses for one actual one, a sender gets
// the first. The file is read again when it changes; one that cannot be read leaves what was read before.
type File struct {
	// Path of the file. Required. Placeholders ({env.*}) are resolved when the config is loaded.
	Path string `json:"path,omitempty"`

	path  string
	table atomic.Pointer[table]
	watch io.Closer
	log   *zap.Logger
}

// table is what a file says. Keys are mailaddr's, or "@" and a domain.
type table struct {
	actual, logical map[string]string
	again           []string // outputs that are keys again
}

// CaddyModule returns the Caddy module information.
func (*File) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.address_maps.file", New: func() caddy.Module { return new(File) }}
}

// Provision reads the file.
func (m *File) Provision(ctx caddy.Context) (err error) {
	m.log = ctx.Logger()
	if m.Path == "" {
		return errors.New("file: a path is required, as in: address_map file /etc/caddy/addresses.map")
	}
	if m.path, err = caddy.NewReplacer().ReplaceOrErr(m.Path, true, true); err != nil {
		return fmt.Errorf("file: path: %w", err)
	}
	if m.watch, err = watch.Files([]string{m.path}, m.log, m.reload); err != nil {
		return fmt.Errorf("file: %w", err)
	}
	return m.load()
}

func (m *File) load() error {
	f, err := os.Open(m.path)
	if err != nil {
		return fmt.Errorf("file: %w", err)
	}
	defer f.Close()
	t, err := read(f, m.path)
	if err != nil {
		return fmt.Errorf("file: %w", err)
	}
	for _, address := range t.again {
		m.log.Warn("an actual address is a logical one too; addresses are translated once, so that it stays as it is", zap.String("address", address), zap.String("file", m.path))
	}
	m.table.Store(t)
	return nil
}

func (m *File) reload() {
	if err := m.load(); err != nil {
		m.log.Error("the address map cannot be read; what was read before stays in force", zap.Error(err))
		return
	}
	m.log.Info("the address map was read again", zap.String("file", m.path), zap.Int("addresses", len(m.table.Load().actual)))
}

// read parses a file. Its name is for errors.
func read(r io.Reader, name string) (*table, error) {
	t := &table{actual: make(map[string]string), logical: make(map[string]string)}
	s := bufio.NewScanner(r)
	for n := 1; s.Scan(); n++ {
		fields := split(s.Text())
		if len(fields) == 0 {
			continue
		}
		if len(fields) != 2 {
			return nil, fmt.Errorf("%s:%d: a logical and an actual address are wanted, as in: xyz@otpnet.nl abc@xyz.nl", name, n)
		}
		logical, err := keyOf(fields[0])
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, n, err)
		}
		actual, err := keyOf(fields[1])
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, n, err)
		}
		if strings.HasPrefix(logical, "@") != strings.HasPrefix(actual, "@") {
			return nil, fmt.Errorf("%s:%d: a domain stands for a domain, and an address for an address", name, n)
		}
		if _, twice := t.actual[logical]; twice {
			return nil, fmt.Errorf("%s:%d: %s stands here a second time", name, n, fields[0])
		}
		t.actual[logical] = fields[1]
		if _, there := t.logical[actual]; !there {
			t.logical[actual] = fields[0]
		}
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	for _, actual := range t.actual {
		if key, _ := keyOf(actual); key != "" {
			if again, ok := t.actual[key]; ok && again != actual {
				t.again = append(t.again, actual)
			}
		}
	}
	return t, nil
}

// split returns a line's words. Blanks within quotes are no end, and # begins a comment
// where a word would begin.
func split(line string) (words []string) {
	word, quoted := "", false
	for i := 0; i <= len(line); i++ {
		switch {
		case i == len(line) || !quoted && (line[i] == ' ' || line[i] == '\t'):
			if word != "" {
				words = append(words, word)
			}
			word = ""
		case line[i] == '#' && word == "":
			return words
		case line[i] == '\\' && quoted && i+1 < len(line):
			word += line[i : i+2]
			i++
		default:
			quoted = quoted != (line[i] == '"')
			word += line[i : i+1]
		}
	}
	return words
}

func keyOf(text string) (string, error) {
	if domain, ok := strings.CutPrefix(text, "@"); ok {
		if err := mailaddr.ValidDomain(domain, true); err != nil {
			return "", fmt.Errorf("%s: %w", text, err)
		}
		ascii, err := mailaddr.ASCIIDomain(domain)
		if err != nil {
			return "", fmt.Errorf("%s: %w", text, err)
		}
		return "@" + ascii, nil
	}
	a, err := mailaddr.Parse(text, true)
	if err != nil || a.Domain == "" {
		return "", fmt.Errorf("%s is no address: %w", text, err)
	}
	return a.Key(), nil
}

// find looks an address up, and then its domain.
func find(m map[string]string, a mailaddr.Address) (string, bool) {
	if to, ok := m[a.Key()]; ok {
		return to, true
	}
	to, ok := m["@"+a.ASCIIDomain()]
	if !ok {
		return "", false
	}
	at := strings.LastIndexByte(a.Exact, '@')
	return a.Exact[:at] + to, true
}

// Actual implements caddymsa.AddressMap.
func (m *File) Actual(_ context.Context, logical mailaddr.Address) (string, bool, error) {
	to, ok := find(m.table.Load().actual, logical)
	return to, ok, nil
}

// Logical implements caddymsa.AddressMap.
func (m *File) Logical(_ context.Context, actual mailaddr.Address) (string, bool, error) {
	to, ok := find(m.table.Load().logical, actual)
	return to, ok, nil
}

// Cleanup ends the watch.
func (m *File) Cleanup() error {
	if m.watch == nil {
		return nil
	}
	return m.watch.Close()
}

// UnmarshalCaddyfile sets up the map from Caddyfile tokens. Syntax:
//
//	address_map file <path>
func (m *File) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the map's name
	if !d.AllArgs(&m.Path) {
		return d.Err("file takes a path, as in: address_map file /etc/caddy/addresses.map")
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*File)(nil)
	_ caddy.CleanerUpper    = (*File)(nil)
	_ caddyfile.Unmarshaler = (*File)(nil)
	_ caddymsa.AddressMap   = (*File)(nil)
)
