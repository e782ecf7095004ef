package policydkim

import (
	"context"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor/machine"
)

// Examine implements caddymsa.Examiner: files of keys are private. Whether keys are published is asked of KeyRecords.
func (p *DKIM) Examine(_ context.Context, x caddymsa.Examination) []doctor.Finding {
	n := doctor.About("files", x.Subject)
	for _, s := range *p.signers.Load() {
		if s.key.File != "" {
			machine.Private(n, "the DKIM key", s.key.file)
		}
	}
	return n.Findings
}

// Interface guard
var _ caddymsa.Examiner = (*DKIM)(nil)
