package caddymsa

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
)

// decoyKey is where the secret lies in Caddy's storage.
const decoyKey = "msa/decoy.key"

// DecoySecret returns the secret from which backends choose what an unknown name
// is checked against (docs/dev/architecture.md, decision 4). It lies in Caddy's storage, so that
// decoys are the same after a restart and on every node that shares the storage.
func DecoySecret(ctx caddy.Context) ([]byte, error) {
	secret, err := decoySecret(ctx, ctx.Storage())
	if err != nil {
		return nil, fmt.Errorf("decoy secret: %w", err)
	}
	return secret, nil
}

// decoySecret takes the storage's lock only to make the secret: a storage of many nodes may be slow to
// lock, and a start must not wait for one that died with it.
func decoySecret(ctx context.Context, storage certmagic.Storage) ([]byte, error) {
	if secret, err := loadDecoy(ctx, storage); secret != nil || err != nil {
		return secret, err
	}
	if err := storage.Lock(ctx, decoyKey); err != nil {
		return nil, err
	}
	defer storage.Unlock(ctx, decoyKey) //nolint:errcheck // it expires by itself
	if secret, err := loadDecoy(ctx, storage); secret != nil || err != nil {
		return secret, err // another was quicker
	}
	secret := make([]byte, 32)
	_, _ = rand.Read(secret)
	if err := storage.Store(ctx, decoyKey, secret); err != nil {
		return nil, err
	}
	return secret, nil
}

// loadDecoy returns nil if there is no secret yet, or none that is of use.
func loadDecoy(ctx context.Context, storage certmagic.Storage) ([]byte, error) {
	secret, err := storage.Load(ctx, decoyKey)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case len(secret) != 32:
		return nil, nil
	}
	return secret, nil
}
