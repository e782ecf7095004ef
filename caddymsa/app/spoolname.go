package app

import (
	"context"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/spoolname"
)

// openSpool opens a spool by its name for an operator, or joins the one that this process has open.
func (app *App) openSpool(ctx context.Context, name string, existing bool) (key string, spool queue.OpenSpool, leave func(), err error) {
	modules, cancel := caddy.NewContext(caddy.Context{Context: ctx})
	defer func() {
		if err != nil {
			cancel()
		}
	}()
	module, err := spoolname.Load(modules, name)
	if err != nil {
		return "", nil, nil, err
	}
	key = module.Key()
	if s, leaveStore := joinStore(key); s != nil {
		return key, s.spool, func() {
			leaveStore()
			cancel()
		}, nil
	}
	if existing {
		if err := spoolname.Find(module); err != nil {
			return "", nil, nil, err
		}
	}
	if spool, err = module.Open(ctx, app.log.Named("spool")); err != nil {
		return "", nil, nil, err
	}
	return key, spool, func() {
		_ = spool.Close()
		cancel()
	}, nil
}
