// Command brittle is a Caddy with modules that panic where the sender or the subject says: TestPanics runs it.
package main

import (
	"context"
	"os"
	"strings"
	"sync/atomic"

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

// Policy panics at the end of data to whom the sender is policy@..., and when its file changes.
type Policy struct {
	File string `json:"file"`

	log     *zap.Logger
	watched interface{ Close() error }
}

func (*Policy) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.policies.brittle", New: func() caddy.Module { return new(Policy) }}
}

func (p *Policy) Provision(ctx caddy.Context) (err error) {
	p.log = ctx.Logger()
	read := watch.Source[string]{Read: func(path string) (string, error) {
		b, err := os.ReadFile(path)
		if strings.Contains(string(b), "panic") {
			panic("a bug in a watcher")
		}
		return string(b), err
	}}
	_ = read
	return nil
}
