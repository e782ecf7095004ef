// Package authfile authenticates the users of a passwd-file, such as Dovecot's.
package authfile

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
	"github.com/caddy-msa/caddy-msa/caddymsa/tableauth"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
	"github.com/caddy-msa/caddy-msa/caddymsa/watch"
)

func init() {
	caddy.RegisterModule(new(File))
}

// File authenticates users listed in a file, one a line:
//
//	user:password:uid:gid:gecos:home:shell:extra
//
// which is Dovecot's passwd-file. A password is {SCHEME}value; the shortest line,
// which serves every mechanism, is alice@example.org:{PLAIN}secret. Extra fields
// that count are addresses=, allow_nets=, nologin and fail. The file is read again
// when it changes; one that does not parse leaves the old users in place and is an
// error in the log.
type File struct {
	// Path of the users file. Required. Placeholders are resolved once, when the
	// configuration is loaded.
	Path string `json:"path,omitempty"`

	// Cache is how long a password that was right is not hashed again. Default 5m;
	// negative: always hash.
	Cache conf.Duration `json:"cache,omitempty"`

	// Case is how names compare: fold, without regard to case, or exact. Two names in the file that are
	// alike are an error. Default fold.
	Case names.Case `json:"case,omitempty"`

	*tableauth.Backend `json:"-"`

	path string // Path without placeholders
	log  *zap.Logger
	file *watch.File[*passwd.Table]
}

// files are the users files in memory, by how names compare in them.
var files = map[names.Case]*watch.Source[*passwd.Table]{names.Folded: source(names.Folded), names.Exact: source(names.Exact)}

func source(fold names.Case) *watch.Source[*passwd.Table] {
	return &watch.Source[*passwd.Table]{Parse: func(r io.Reader, name string, _ int64, before *passwd.Table) (*passwd.Table, error) {
		table, err := passwd.ParseAgain(r, fold, before)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return table, nil
	}}
}

// CaddyModule returns the Caddy module information.
func (*File) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.auth.file", New: func() caddy.Module { return new(File) }}
}

// Provision reads the file, so that a broken one fails the load, and begins to watch it.
func (f *File) Provision(ctx caddy.Context) (err error) {
	f.log = terminal.Logger(ctx.Logger())
	if f.path, err = conf.Expand(f.Path); err != nil {
		return fmt.Errorf("users file: %w", err)
	}
	if f.path == "" {
		return fmt.Errorf("users file: path is required, as in file users.passwd")
	}
	secret, err := caddymsa.DecoySecret(ctx)
	if err != nil {
		return err
	}
	f.Backend = tableauth.New(secret, tableauth.NewCache(f.Cache), f.Case)
	if f.file, err = files[f.Case].Open(f.path, f.log, f.changed); err != nil {
		return fmt.Errorf("users file: %w", err)
	}
	f.file.Use(f.use)
	return nil
}

// use takes the users of the file.
func (f *File) use(table *passwd.Table) {
	if info, err := os.Stat(f.path); err == nil && info.Mode().Perm()&0o006 != 0 && runtime.GOOS != "windows" { // which has no such modes
		f.log.Warn("users file is open to everyone on this machine; chmod o= it", zap.String("path", f.path))
	}
	if table.Len() == 0 {
		f.log.Warn("the users file has no users, and says so; nobody can log in by it", zap.String("path", f.path))
	}
	f.complain(table)
	f.Swap(table)
}

// maxProblems is how many users the log names whose lines are of no use.
const maxProblems = 20

// complain tells of users who cannot log in, or not with all that is stored of them.
func (f *File) complain(table *passwd.Table) {
	some, all := table.Problems(maxProblems)
	for _, problem := range some {
		f.log.Error("a stored password in the users file cannot be used", zap.String("path", f.path), zap.Error(problem))
	}
	if all > len(some) {
		f.log.Error("more stored passwords in the users file cannot be used", zap.String("path", f.path), zap.Int("users", all-len(some)))
	}
}

// changed keeps the old users if the file cannot be read or does not parse.
func (f *File) changed(table *passwd.Table, err error) {
	if err != nil {
		f.log.Error("users file changed but cannot be used; the old users stay", zap.Error(err))
		return
	}
	f.use(table)
	f.log.Info("users file was read again", zap.String("path", f.path), zap.Int("users", table.Len()))
}

// Reload implements caddymsa.Reloader.
func (f *File) Reload(context.Context) error {
	if err := f.file.Reload(); err != nil {
		return fmt.Errorf("users file: %w", err)
	}
	return nil
}

// Cleanup ends the watch.
func (f *File) Cleanup() error {
	if f.file == nil {
		return nil
	}
	return f.file.Close()
}

// UnmarshalCaddyfile sets up the backend from Caddyfile tokens. Syntax:
//
//	file <path> {
//		cache <duration>|off
//		case  fold|exact
//	}
func (f *File) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the backend's name
	if !d.Args(&f.Path) {
		return d.Err("file takes the path of a users file, as in file users.passwd")
	}
	return conf.Block(d,
		tableauth.CacheSetting(&f.Cache),
		conf.Value("case", &f.Case),
	)
}

// Interface guards
var (
	_ caddy.Provisioner         = (*File)(nil)
	_ caddy.CleanerUpper        = (*File)(nil)
	_ caddyfile.Unmarshaler     = (*File)(nil)
	_ caddymsa.PasswordVerifier = (*File)(nil)
	_ caddymsa.DigestStore      = (*File)(nil)
	_ caddymsa.SCRAMStore       = (*File)(nil)
	_ caddymsa.Lookuper         = (*File)(nil)
	_ caddymsa.Revisioner       = (*File)(nil)
	_ caddymsa.Surveyor         = (*File)(nil)
	_ caddymsa.Reloader         = (*File)(nil)
)
