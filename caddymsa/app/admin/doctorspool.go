package admin

import (
	"context"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// ofSpool are the checks of the spool that is accepted into, and of others.
func (e *examination) ofSpool() []doctor.Check {
	p := e.p
	return []doctor.Check{
		within(p.takesMessages),
		within(func(ctx context.Context) []doctor.Finding {
			examiner, ok := p.SpoolModule.(caddymsa.Examiner)
			if !ok {
				return nil
			}
			return examiner.Examine(ctx, caddymsa.Examination{Subject: p.Key, Resolver: e.q.Resolver})
		}),
		within(p.formerSpools),
	}
}

// takesMessages begins a message as acceptance does, and counts what is not whole.
func (p *Part) takesMessages(ctx context.Context) []doctor.Finding {
	n := doctor.About("spool", p.Key)
	if err := p.tryDraft(ctx); err != nil {
		n.Wrong("see the server's log: it names what the spool met", "messages are refused (4yz): %v", err)
	} else {
		n.OK("it takes messages")
	}
	if d, ok := p.Spool.(queue.DamageCounter); ok {
		if damaged := d.Damaged(); damaged > 0 {
			n.Wrong("caddy msa spool check names them, caddy msa spool salvage saves what can be", "%d messages cannot be read whole", damaged)
		}
	}
	return n.Findings
}

// formerSpools are those of configurations that came before.
func (p *Part) formerSpools(ctx context.Context) (found []doctor.Finding) {
	for _, s := range p.Former {
		n := doctor.About("spool", s.Key)
		messages, _, err := queue.Guard(s.Spool, p.Log).Size(ctx)
		if err != nil {
			n.Wrong("see the server's log", "a former configuration's spool cannot be read: %v", err)
		} else {
			n.Warn("let it be emptied, or take it over with caddy msa spool move; until then do not take its disk away", "a former configuration's spool still has %d messages, which are delivered from there", messages)
		}
		found = append(found, n.Findings...)
	}
	for _, key := range p.Left() {
		n := doctor.About("spool", key)
		n.Wrong("name it in the configuration for as long as it takes to empty it, or take its messages over: caddy msa spool move", "a former configuration's spool was left behind, with messages in it perhaps, which nobody delivers")
		found = append(found, n.Findings...)
	}
	return found
}
