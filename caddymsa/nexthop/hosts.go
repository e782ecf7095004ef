package nexthop

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// downFor is how long a host that could not be reached is asked after others.
const downFor = time.Minute

// Deliver hands a delivery's message to the first of the hosts that can be reached. One that answers,
// whatever it says, is the one that counts.
func Deliver(ctx context.Context, hosts []*Hop, d *queue.Delivery) error {
	m := messageOf(d)
	var failures []error
	lane := true
	for _, h := range Order(hosts, time.Now()) {
		err := h.Deliver(ctx, m)
		if err == nil {
			return nil
		}
		failures = append(failures, err)
		f := AsFailure(err)
		lane = lane && f != nil && f.Lane
		if f == nil || !f.Elsewhere {
			break
		}
	}
	err := joined(failures)
	for _, r := range m.Recipients {
		noteMTA(r, AsFailure(err), d)
	}
	if lane {
		return queue.Unreachable(err)
	}
	return err
}
