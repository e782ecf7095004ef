package msatest

import (
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/counts"
)

func TestMemCounter(t *testing.T) {
	m := new(MemCounter)
	Counter(t, func(testing.TB) counts.Counter { return m })
}
