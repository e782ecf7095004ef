package load

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// pause of a client after a failed session, so that a server that refuses all is
// not stormed.
const pause = 10 * time.Millisecond

// Run submits until the options' end, or that of ctx. Failed sessions are in the
// result; the error is one of the options.
func Run(ctx context.Context, o Options) (*Result, error) {
	p, err := o.prepare()
	if err != nil {
		return nil, err
	}
	start := time.Now()
	if p.Duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, start.Add(p.Warmup+p.Duration))
		defer cancel()
	}
	var begun atomic.Int64
	more := func() bool {
		return ctx.Err() == nil && (p.Sessions <= 0 || begun.Add(1) <= int64(p.Sessions))
	}
	tallies := make([]tally, p.Clients)
	var wg sync.WaitGroup
	for i := range tallies {
		t := &tallies[i]
		t.from = start.Add(p.Warmup)
		wg.Go(func() {
			for more() {
				if err := one(ctx, p, t); err != nil {
					t.failure(err)
					time.Sleep(pause)
				}
			}
		})
	}
	wg.Wait()
	return merge(tallies), nil
}

// one runs a session to its end. When ctx ends, what is under way is finished,
// and a session that is then short of messages does not count as a session in the result.
func one(ctx context.Context, p *prepared, t *tally) error {
	began := time.Now()
	s, err := open(context.WithoutCancel(ctx), p, t.observe)
	if err != nil {
		return err
	}
	defer s.nc.Close()
	sent := 0
	for sent < p.Messages && (sent == 0 || ctx.Err() == nil) {
		if err := s.send(t.observe); err != nil {
			return err
		}
		t.message(len(p.text))
		sent++
	}
	if err := s.quit(); err != nil {
		return err
	}
	if sent == p.Messages {
		t.observe(Total, began)
		t.session()
	}
	return nil
}
