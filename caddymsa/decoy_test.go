package caddymsa

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/certmagic"
)

// countingStorage counts its locks.
type countingStorage struct {
	certmagic.Storage
	locks  atomic.Int32
	broken error
}

func (s *countingStorage) Lock(ctx context.Context, name string) error {
	s.locks.Add(1)
	return s.Storage.Lock(ctx, name)
}

func (s *countingStorage) Load(ctx context.Context, key string) ([]byte, error) {
	if s.broken != nil {
		return nil, s.broken
	}
	return s.Storage.Load(ctx, key)
}

// The storage is locked when the secret is made, and not at each start. All who start at the same time
// have the same secret.
func TestDecoySecretLock(t *testing.T) {
	s := &countingStorage{Storage: &certmagic.FileStorage{Path: t.TempDir()}}
	secrets := make([][]byte, 4)
	var wg sync.WaitGroup
	for i := range secrets {
		wg.Go(func() { secrets[i], _ = decoySecret(t.Context(), s) })
	}
	wg.Wait()
	for _, secret := range secrets {
		if len(secret) != 32 || !bytes.Equal(secret, secrets[0]) {
			t.Fatal("different secrets")
		}
	}
	before := s.locks.Load()
	again, err := decoySecret(t.Context(), s)
	if err != nil || !bytes.Equal(again, secrets[0]) || s.locks.Load() != before || before == 0 {
		t.Errorf("%v, locked %d times, before %d", err, s.locks.Load(), before)
	}
	s.broken = errors.New("broken")
	if _, err := decoySecret(t.Context(), s); !errors.Is(err, s.broken) || s.locks.Load() != before {
		t.Error(err)
	}
}
