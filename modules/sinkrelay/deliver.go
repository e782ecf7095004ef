package sinkrelay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/time/rate"

	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// Destination implements queue.Destinations.
func (r *Relay) Destination(_ *queue.Entry, rcpt *queue.Recipient) queue.Destination {
	if r.mx != nil {
		return queue.Destination{Name: domainOf(rcpt), Concurrency: r.Concurrency}
	}
	return queue.Destination{Name: r.hosts[0].Address, Concurrency: r.Concurrency}
}

// downFor is how long a host that could not be reached is asked after others.
const downFor = time.Minute

// Deliver sends the message to all recipients at once, by the first host that can be reached.
func (r *Relay) Deliver(ctx context.Context, d *queue.Delivery) error {
	name := r.Destination(d.Entry, d.Recipients[0]).Name
	if err := r.wait(ctx, name); err != nil {
		return err
	}
	hosts := r.hosts
	if r.mx != nil {
		var err error
		if hosts, err = r.mx.of(ctx, name); err != nil {
			return err
		}
	}
	var failures []error
	for _, h := range r.order(hosts) {
		err := h.Deliver(ctx, d)
		if !queue.IsUnreachable(err) || ctx.Err() != nil {
			return relayed(err)
		}
		failures = append(failures, err)
	}
	if len(failures) == 1 {
		return relayed(failures[0])
	}
	return queue.Unreachable(relayed(errors.Join(failures...)))
}

// relayed says what was tried, unless it is a reply, which speaks for itself.
func relayed(err error) error {
	if err == nil || nexthop.ReplyOf(err) != nil {
		return err
	}
	return fmt.Errorf("relay to %w", err)
}

// order puts those last that could not be reached a moment ago.
func (r *Relay) order(hosts []*nexthop.Hop) []*nexthop.Hop {
	now := r.now()
	var up, down []*nexthop.Hop
	for _, h := range hosts {
		if h.Down(now, downFor) {
			down = append(down, h)
		} else {
			up = append(up, h)
		}
	}
	return append(up, down...)
}

// maxLimiters is when those of destinations are forgotten that are not in use.
const maxLimiters = 10000

// wait keeps to the rate.
func (r *Relay) wait(ctx context.Context, destination string) error {
	if r.Rate == nil {
		return nil
	}
	r.mu.Lock()
	l := r.limiters[destination]
	if l == nil {
		if r.limiters == nil || len(r.limiters) >= maxLimiters {
			r.limiters = make(map[string]*rate.Limiter)
		}
		l = rate.NewLimiter(rate.Every(time.Duration(r.Rate.Per)/time.Duration(r.Rate.Messages)), 1)
		r.limiters[destination] = l
	}
	r.mu.Unlock()
	return l.Wait(ctx)
}
