package sharing

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/counts"
)

// pause is how long a store is left alone after it did not answer, so that what hangs does not slow every message.
const pause = time.Second

// Counts are those of one limit, which nodes share.
type Counts struct {
	// OnFailure is what the operator wants when Count returns an error.
	OnFailure string

	limit, where, prefix string
	store                counts.Counter // nil: the spool
	timeout              time.Duration
	log                  *zap.Logger
	now                  func() time.Time
	down                 atomic.Int64 // not asked before, in nanoseconds since 1970; 0: it answers
}

var (
	errPaused  = errors.New("it did not answer a moment ago")
	errNoSpool = errors.New("the spool has no counts that nodes share")
)

// Count makes changes of counts, whose keys may be of any length and hold what strangers chose. It returns within the timeout. spool is the
// spool that accepts, as far as it counts.
func (c *Counts) Count(ctx context.Context, spool counts.Counter, changes ...counts.Change) ([]counts.Count, error) {
	store := c.store
	if store == nil {
		store = spool
	}
	if store == nil {
		return nil, errNoSpool
	}
	if c.now().UnixNano() < c.down.Load() {
		return nil, fmt.Errorf("%s: %w", c.where, errPaused)
	}
	hashed := make([]counts.Change, len(changes))
	for i, change := range changes {
		sum := sha256.Sum256([]byte(change.Key))
		change.Key = c.prefix + hex.EncodeToString(sum[:16])
		hashed[i] = change
	}
	asked, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	found, err := store.Count(asked, hashed...)
	if err != nil && ctx.Err() != nil {
		return nil, err // it is the caller who did not wait
	}
	if err != nil {
		if c.down.Swap(c.now().Add(pause).UnixNano()) == 0 {
			c.log.Error(c.limit+": "+c.where+" does not answer, where nodes share counts", zap.String("on_failure", c.OnFailure), zap.Error(err))
		}
		return nil, fmt.Errorf("%s: %w", c.where, err)
	}
	if c.down.Swap(0) != 0 {
		c.log.Info(c.limit + ": " + c.where + " answers again")
	}
	return found, nil
}

// Return gives back what was counted for nothing, when the client waits for nothing any more.
func (c *Counts) Return(spool counts.Counter, changes ...counts.Change) error {
	_, err := c.Count(context.Background(), spool, changes...)
	return err
}

// Close ends the connections. Whoever asks afterwards gets an error.
func (c *Counts) Close() error {
	if c == nil {
		return nil
	}
	c.down.Store(math.MaxInt64)
	if r, ok := c.store.(*redisCounts); ok {
		return r.client.Close()
	}
	return nil
}
