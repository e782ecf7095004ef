package policydkim

import "github.com/caddy-msa/caddy-msa/caddymsa"

// KeyRecords implements caddymsa.KeyPublisher.
func (p *DKIM) KeyRecords() (all []caddymsa.KeyRecord) {
	for _, s := range *p.signers.Load() {
		all = append(all, caddymsa.KeyRecord{Domain: s.key.domain, Selector: s.key.Selector, Text: s.record})
	}
	return all
}

// Interface guard
var _ caddymsa.KeyPublisher = (*DKIM)(nil)
