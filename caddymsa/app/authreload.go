package app

import (
	"context"

	"github.com/caddy-msa/caddy-msa/caddymsa"
)

// reload has the backend read its data again, and open sessions looked up at their next message.
func (b *backend) reload(ctx context.Context) error {
	if r, ok := b.module.(caddymsa.Reloader); ok {
		if err := r.Reload(ctx); err != nil {
			return err
		}
	}
	b.reloads.Add(1)
	return nil
}

// revision changes when the backend's data do, if it says so, and when somebody else does.
func (b *backend) revision() uint64 {
	n := b.reloads.Load()
	if r, ok := b.module.(caddymsa.Revisioner); ok {
		n += r.Revision()
	}
	return n
}
