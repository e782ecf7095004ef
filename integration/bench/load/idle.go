package load

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Idle are sessions that have authenticated and say no more.
type Idle struct {
	sessions []*session
}

// OpenIdle opens n sessions, o.Clients at a time. An error closes them all.
func OpenIdle(ctx context.Context, o Options, n int) (*Idle, error) {
	o.Sessions = n
	p, err := o.prepare()
	if err != nil {
		return nil, err
	}
	idle := &Idle{sessions: make([]*session, n)}
	errs := make([]error, n)
	slots := make(chan struct{}, p.Clients)
	var wg sync.WaitGroup
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if idle.sessions[i], errs[i] = open(ctx, p, func(Phase, time.Time) {}); errs[i] == nil {
				_ = idle.sessions[i].nc.SetDeadline(time.Time{})
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		idle.Close()
		return nil, errs[firstError(errs)]
	}
	return idle, nil
}

func firstError(errs []error) int {
	for i, err := range errs {
		if err != nil {
			return i
		}
	}
	return 0
}

// Close says QUIT in each session, and returns how many were gone.
func (i *Idle) Close() (lost int) {
	for _, s := range i.sessions {
		if s == nil {
			continue
		}
		_ = s.nc.SetDeadline(time.Now().Add(s.p.Timeout))
		if s.quit() != nil {
			lost++
		}
	}
	return lost
}
