package tableauth

import (
	"context"
	"fmt"
	"runtime"
)

// slots bounds how many passwords the process hashes at a time: a flood of AUTHs waits in
// line, first come first served, and every hash takes memory only in its turn. What else the
// server does has to share the cores with so many goroutines at most.
var slots = make(chan struct{}, runtime.GOMAXPROCS(0))

// Enter waits for a slot until ctx ends, and returns what gives it back.
func Enter(ctx context.Context) (leave func(), err error) {
	select {
	case slots <- struct{}{}:
		return func() { <-slots }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting to hash a password: %w", context.Cause(ctx))
	}
}
