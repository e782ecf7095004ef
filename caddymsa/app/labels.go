package app

import (
	"sync"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa"
)

const (
	// maxRules is how many values a label takes that others think of, such as the rule that a policy's web
	// service names; what comes after them is "other".
	maxRules = 200
	maxLabel = 64 // octets of such a value
	// nativeReset is when a native histogram with too many buckets begins anew.
	nativeReset = time.Hour
)

// bounded are the values that a label has had.
type bounded struct {
	mu   sync.Mutex
	seen map[string]bool
}

// rules are those of all policies.
var rules bounded

// of is the value, or "other" where there are too many.
func (b *bounded) of(value string) string {
	if value == "" {
		return ""
	}
	if value = caddymsa.ReplyLine(value); len(value) > maxLabel {
		value = value[:maxLabel]
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.seen[value]:
	case len(b.seen) >= maxRules:
		return "other"
	case b.seen == nil:
		b.seen = map[string]bool{value: true}
	default:
		b.seen[value] = true
	}
	return value
}
