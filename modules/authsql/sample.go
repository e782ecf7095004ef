package authsql

import (
	"context"
	"errors"

	"github.com/caddy-msa/caddy-msa/caddymsa"
)

// Sample implements caddymsa.Sampler, by the statement that lists users.
func (s *SQL) Sample(ctx context.Context, c caddymsa.Capability, realms []string, most int) (users, without int, err error) {
	names, err := s.names(ctx, "", most)
	if err != nil {
		if errors.Is(err, caddymsa.ErrNotChangeable) {
			err = nil // nobody has said how to list them
		}
		return 0, 0, err
	}
	for _, name := range names {
		rec, err := s.keeper.src.fetch(ctx, s.Case, name)
		switch {
		case err != nil && ctx.Err() != nil:
			return 0, 0, err
		case err != nil || rec == nil || rec.Disabled || len(rec.Credentials)+len(rec.Apps) == 0:
			continue // who cannot log in at all
		}
		users++
		if c == caddymsa.CapSCRAM && !rec.CanSCRAM() || c == caddymsa.CapDigest && !rec.CanDigest(realms) {
			without++
		}
	}
	return users, without, nil
}

// Interface guard
var _ caddymsa.Sampler = (*SQL)(nil)
