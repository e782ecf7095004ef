// Package crew runs functions in goroutines of which some are kept for the next: a new one begins with a small stack, and
// a TLS handshake or a delivery outgrows it at once, again and again, each time copying it.
package crew

import "sync/atomic"

// kept is how many goroutines wait for something to do.
const kept = 16

// Crew is a set of goroutines. There may be any number of them at work.
type Crew struct {
	work chan func()
	idle atomic.Int32
	over <-chan struct{}
}

// New returns a crew that keeps none after over is closed.
func New(over <-chan struct{}) *Crew { return &Crew{work: make(chan func()), over: over} }

// Go has f run by a goroutine that is idle, or a new one.
func (c *Crew) Go(f func()) {
	select {
	case c.work <- f:
	default:
		go c.run(f)
	}
}

func (c *Crew) run(f func()) {
	for {
		f()
		if c.idle.Add(1) > kept {
			c.idle.Add(-1)
			return
		}
		select {
		case f = <-c.work:
			c.idle.Add(-1)
		case <-c.over:
			return
		}
	}
}
