package sinkrelay

import (
	"context"
	"fmt"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// Destination implements queue.Destinations.
func (r *Relay) Destination(_ *queue.Entry, rcpt *queue.Recipient) queue.Destination {
	d := queue.Destination{Concurrency: r.Concurrency}
	if r.Rate != nil {
		d.Rate = queue.Rate{Messages: r.Rate.Messages, Per: time.Duration(r.Rate.Per)}
	}
	if r.mx != nil {
		d.Name = domainOf(rcpt)
	} else {
		d.Name = r.hosts[0].Address
	}
	return d
}

// Deliver sends the message to all recipients at once, by the first host that can be reached.
func (r *Relay) Deliver(ctx context.Context, d *queue.Delivery) error {
	hosts := r.hosts
	if r.mx != nil {
		var err error
		if hosts, err = r.mx.of(ctx, domainOf(d.Recipients[0])); err != nil {
			return relayed(err)
		}
	}
	return relayed(nexthop.Deliver(ctx, hosts, d))
}

// relayed says what was tried, unless it is a reply, which speaks for itself.
func relayed(err error) error {
	if err == nil || nexthop.ReplyOf(err) != nil {
		return err
	}
	return fmt.Errorf("relay to %w", err)
}
