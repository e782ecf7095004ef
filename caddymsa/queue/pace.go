package queue

import (
	"context"
	"sync"
	"time"
)

// When a destination of very many messages is down, looking at them all to put them off again is work
// for nobody's good: it is done at a pace that leaves the processor to those who submit.
const (
	postponeEvery = 400 * time.Microsecond
	postponeBurst = 100 * time.Millisecond // so far the pace may lag behind
)

// pace keeps all workers together to one entry in postponeEvery.
type pace struct {
	mu   sync.Mutex
	next time.Time
}

// wait ends when the caller's turn has come, or ctx.
func (p *pace) wait(ctx context.Context) {
	p.mu.Lock()
	at := time.Now()
	if earliest := at.Add(-postponeBurst); p.next.Before(earliest) {
		p.next = earliest
	}
	p.next = p.next.Add(postponeEvery)
	wait := p.next.Sub(at)
	p.mu.Unlock()
	if wait <= 0 {
		return
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
