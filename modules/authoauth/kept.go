package authoauth

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// keep is how long what the issuer publishes counts: a key that was withdrawn signs for no longer.
const keep = time.Hour

// retry is how long the issuer is not asked again after it did not answer: tokens that strangers make up
// must not become questions to it.
const retry = time.Second

// kept is something of the issuer's that is fetched when it is first needed, and kept.
type kept[T any] struct {
	fetch   func(context.Context) (T, error)
	timeout time.Duration // of a fetch
	now     func() time.Time

	fetching singleflight.Group

	mu     sync.Mutex
	value  T
	at     time.Time // of value; zero: there is none
	err    error     // of the last fetch
	failed time.Time // when that was
}

// get returns the value, not older than so.
func (k *kept[T]) get(ctx context.Context, age time.Duration) (T, error) {
	if value, done, err := k.have(age); done {
		return value, err
	}
	// Many callers wait for one fetch, each as long as its own context lasts. The fetch has a time of
	// its own, so that it does not fail for all when the first caller goes.
	result := k.fetching.DoChan("", func() (any, error) {
		if value, done, err := k.have(age); done { // another has just been there
			return value, err
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), k.timeout)
		defer cancel()
		at := k.now()
		value, err := k.fetch(ctx)
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.err = err; err != nil {
			k.failed = k.now()
			return value, err
		}
		k.value, k.at = value, at
		return value, nil
	})
	var none T
	select {
	case r := <-result:
		if r.Err != nil {
			return none, r.Err
		}
		return r.Val.(T), nil
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// have answers without a fetch, if it can.
func (k *kept[T]) have(age time.Duration) (value T, done bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	switch {
	case !k.at.IsZero() && now.Sub(k.at) < age:
		return k.value, true, nil
	case k.err != nil && now.Sub(k.failed) < retry:
		return value, true, k.err
	}
	return value, false, nil
}

// last returns the value however old it is.
func (k *kept[T]) last() (value T, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.value, !k.at.IsZero()
}
