package tableauth

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"

	"github.com/caddy-msa/caddy-msa/caddymsa"
)

// slots bounds how many passwords the process hashes at a time: half of the cores, so that a
// flood of AUTHs leaves the other half to everything else, and takes no more memory than so
// many hashes.
var slots = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))

// maxWaiting bounds the line in front of the slots: some seconds of the costliest hashes.
// Who would have to wait longer is better served by an answer.
const maxWaiting = 64

var waiting atomic.Int64

var errLine = fmt.Errorf("%w: too many passwords are waiting to be hashed", caddymsa.ErrBusy)

// Enter waits for a slot until ctx ends, and returns what gives it back. The line is first
// come first served.
func Enter(ctx context.Context) (leave func(), err error) {
	leave = func() { <-slots }
	select {
	case slots <- struct{}{}:
		return leave, nil
	default:
	}
	defer waiting.Add(-1)
	if waiting.Add(1) > maxWaiting {
		return nil, errLine
	}
	select {
	case slots <- struct{}{}:
		return leave, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: waiting to hash a password: %w", caddymsa.ErrBusy, context.Cause(ctx))
	}
}
