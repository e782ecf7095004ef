package sharing

import (
	"context"

	"github.com/caddy-msa/caddy-msa/caddymsa/counts"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

// Examine looks whether Redis answers, as it does for a count, and leaves nothing behind. Of counts in the spool, and of those
// that are this process' alone, there is nothing to say.
func (c *Counts) Examine(ctx context.Context, check, subject string) []doctor.Finding {
	if c == nil || c.store == nil {
		return nil
	}
	n := doctor.About(check, subject)
	if _, err := c.store.Count(ctx, counts.Change{Key: c.prefix + "doctor", Max: 1, Look: true}); err != nil {
		n.Wrong("start Redis, or correct its address and account; until then on_failure decides", "the counts that nodes share cannot be had from %s: %v", c.where, err)
	} else {
		n.OK("the counts that nodes share can be had from %s", c.where)
	}
	return n.Findings
}
