package policysize

import (
	"context"
	"errors"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
)

// Who has an attribute has that size, and who has none, or one that is no size, the configuration's. Who may submit nothing hears it
// at MAIL, with SIZE or without.
func TestTariff(t *testing.T) {
	p := open(t, "{msa.identity.attributes.max_size} 1000")
	for value, most := range map[string]int64{"": 1000, "2kB": 2000, "500": 500, "unlimited": 1 << 40, "large": 1000, "-5": 1000, "99999999999999999999999": 1000, "0": -1} {
		s := msatest.NewSubmission("alice", "alice@example.org")
		s.Identity.Attributes = map[string]string{"max_size": value}
		code := 552
		if value == "0" {
			code = 550
		}
		for size, ok := range map[int64]bool{most: value != "0", most + 1: value == "unlimited"} {
			s.DeclaredSize = max(0, size)
			err := p.CheckSender(context.Background(), s)
			refusal, _ := errors.AsType[*caddymsa.Refusal](err)
			if (err == nil) != ok || !ok && (refusal == nil || refusal.Code != code) {
				t.Errorf("%q: %d: %v", value, size, err)
			}
		}
	}
}
