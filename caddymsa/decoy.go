package caddymsa

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"

	"github.com/caddyserver/caddy/v2"
)

// decoyKey is where the secret lies in Caddy's storage.
const decoyKey = "msa/decoy.key"

// DecoySecret returns the secret from which backends choose what an unknown name
// is checked against (docs/dev/architecture.md, decision 4). It lies in Caddy's storage, so that
// decoys are the same after a restart and on every node that shares the storage.
func DecoySecret(ctx caddy.Context) ([]byte, error) {
	storage := ctx.Storage()
	if err := storage.Lock(ctx, decoyKey); err != nil {
		return nil, fmt.Errorf("decoy secret: %w", err)
	}
	defer storage.Unlock(ctx, decoyKey) //nolint:errcheck // it expires by itself
	secret, err := storage.Load(ctx, decoyKey)
	if err == nil && len(secret) == 32 {
		return secret, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("decoy secret: %w", err)
	}
	secret = make([]byte, 32)
	_, _ = rand.Read(secret)
	if err := storage.Store(ctx, decoyKey, secret); err != nil {
		return nil, fmt.Errorf("decoy secret: %w", err)
	}
	return secret, nil
}
