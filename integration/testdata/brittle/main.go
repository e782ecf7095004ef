// Command brittle is a Caddy with modules that panic when a file says so: TestPanics runs it.
package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"go.uber.org/zap"

	_ "github.com/caddy-msa/caddy-msa"
	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/watch"
	"github.com/caddy-msa/caddy-msa/modules/spoolfile"
)

func init() {
	caddy.RegisterModule(new(Policy))
	caddy.RegisterModule(new(Spool))
	caddy.RegisterModule(new(Handler))
}

func main() { caddycmd.Main() }

// Policy panics at the end of data while its file says so, and when its file changes.
type Policy struct {
	File string `json:"file"`

	log     *zap.Logger
	watched io.Closer
}

func (*Policy) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.policies.brittle", New: func() caddy.Module { return new(Policy) }}
}

func (p *Policy) Provision(ctx caddy.Context) (err error) {
	p.log = ctx.Logger()
	p.watched, err = watch.Files([]string{p.File}, p.log, func() { panic("a bug in a watcher") })
	return err
}

func (p *Policy) Cleanup() error { return p.watched.Close() }

func (p *Policy) CheckSender(_ context.Context, s *caddymsa.Submission) error {
	s.OnEnd(func(accepted bool) { p.log.Info("told of the end", zap.Bool("accepted", accepted)) })
	return nil
}

func (p *Policy) CheckMessage(context.Context, *caddymsa.Submission, *caddymsa.Message) error {
	maybe(p.File, "policy")
	return nil
}

func (p *Policy) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	d.Args(&p.File)
	return nil
}

// Spool is the file spool, whose methods panic while the file brittle beside its directory names them.
type Spool struct{ spoolfile.FileSpool }

func (*Spool) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.spools.brittle", New: func() caddy.Module { return new(Spool) }}
}

func (s *Spool) Open(ctx context.Context, log *zap.Logger) (queue.OpenSpool, error) {
	opened, err := s.FileSpool.Open(ctx, log)
	return &spool{opened, filepath.Join(filepath.Dir(s.Path), "brittle")}, err
}

type spool struct {
	queue.OpenSpool
	file string
}

func maybe(file, method string) {
	if b, _ := os.ReadFile(file); strings.Contains(string(b), method) {
		panic("a bug in " + method)
	}
}

func (s *spool) Create(ctx context.Context) (queue.Draft, error) {
	maybe(s.file, "Create")
	d, err := s.OpenSpool.Create(ctx)
	return &draft{d, s.file}, err
}

func (s *spool) Lease(ctx context.Context, now time.Time, want queue.Want) (queue.Lease, time.Time, error) {
	maybe(s.file, "Lease")
	l, next, err := s.OpenSpool.Lease(ctx, now, want)
	if err != nil {
		return nil, next, err
	}
	return &lease{l, s.file}, next, nil
}

func (s *spool) Size(ctx context.Context) (int, int64, error) {
	maybe(s.file, "Size")
	return s.OpenSpool.Size(ctx)
}

func (s *spool) Damaged() int {
	maybe(s.file, "Damaged")
	return 0
}

type lease struct {
	queue.Lease
	file string
}

func (l *lease) Record(ctx context.Context, r *queue.Record) error {
	maybe(l.file, "Record")
	return l.Lease.Record(ctx, r)
}

type draft struct {
	queue.Draft
	file string
}

func (d *draft) Write(p []byte) (int, error) {
	maybe(d.file, "Write")
	return d.Draft.Write(p)
}

func (d *draft) Commit(ctx context.Context, a *queue.Accept) error {
	maybe(d.file, "Commit")
	return d.Draft.Commit(ctx, a)
}

// Handler panics.
type Handler struct{}

func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.brittle", New: func() caddy.Module { return new(Handler) }}
}

func (*Handler) Handle(context.Context, caddy.Event) error { panic("a bug in a handler of events") }

func (*Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { d.Next(); return nil }
