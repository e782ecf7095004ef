package sharing

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"sync"
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
	down                 atomic.Int64 // not asked before, in nanoseconds since 1970; or up

	mu     sync.Mutex
	closed bool
	holds  int // how many may still give something back
}

const up = 0 // it answers

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
	asked, ok := c.mayAsk()
	if !ok {
		return nil, fmt.Errorf("%s: %w", c.where, errPaused)
	}
	hashed := make([]counts.Change, len(changes))
	for i, change := range changes {
		sum := sha256.Sum256([]byte(change.Key))
		change.Key = c.prefix + hex.EncodeToString(sum[:16])
		hashed[i] = change
	}
	limited, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	found, err := store.Count(limited, hashed...)
	if err != nil && ctx.Err() != nil { // it is the caller who did not wait
		if asked != up {
			c.down.CompareAndSwap(asked, c.now().UnixNano())
		}
		return nil, err
	}
	if err != nil {
		if c.down.CompareAndSwap(asked, c.now().Add(pause).UnixNano()) && asked == up {
			c.log.Error(c.limit+": "+c.where+" does not answer, where nodes share counts", zap.String("on_failure", c.OnFailure), zap.Error(err))
		}
		return nil, fmt.Errorf("%s: %w", c.where, err)
	}
	if asked != up && c.down.CompareAndSwap(asked, up) {
		c.log.Info(c.limit + ": " + c.where + " answers again")
	}
	return found, nil
}

// mayAsk tells whether the store is asked now. Where it did not answer, one asks again after a pause; what was under way before says
// nothing any more. asked is what down is until there is an answer.
func (c *Counts) mayAsk() (asked int64, ok bool) {
	down, now := c.down.Load(), c.now()
	if down == up {
		return up, true
	}
	asked = now.Add(c.timeout + pause).UnixNano()
	return asked, now.UnixNano() >= down && c.down.CompareAndSwap(down, asked)
}

// Return gives back what was counted for nothing, when the client waits for nothing any more.
func (c *Counts) Return(spool counts.Counter, changes ...counts.Change) error {
	_, err := c.Count(context.Background(), spool, changes...)
	return err
}

// Hold keeps the connections, beyond Close, until Release: a message that outlives its configuration gives back what it has counted.
func (c *Counts) Hold() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holds++
}

// Release ends a Hold.
func (c *Counts) Release() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holds--
	_ = c.end()
}

// Close ends the connections, as soon as nobody holds them. Whoever asks afterwards gets an error.
func (c *Counts) Close() error {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return c.end()
}

func (c *Counts) end() error {
	if !c.closed || c.holds > 0 {
		return nil
	}
	c.down.Store(math.MaxInt64)
	if r, ok := c.store.(*redisCounts); ok {
		return r.client.Close()
	}
	return nil
}
