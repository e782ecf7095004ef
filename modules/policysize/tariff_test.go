package policysize

import (
	"context"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
)

// Who has an attribute has that size, and who has none the configuration's.
func TestTariff(t *testing.T) {
	p := open(t, "{msa.identity.attributes.max_size} 1000")
	for value, most := range map[string]int64{"": 1000, "2kB": 2000, "500": 500, "unlimited": 1 << 40, "large": 1000, "0": 0} {
		s := msatest.NewSubmission("alice", "alice@example.org")
		s.Identity.Attributes = map[string]string{"max_size": value}
		for size, ok := range map[int64]bool{most: true, most + 1: value == "unlimited"} {
			s.DeclaredSize = size
			if err := p.CheckSender(context.Background(), s); (err == nil) != ok {
				t.Errorf("%q: %d: %v", value, size, err)
			}
		}
	}
}
