package spoolfile

import (
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func TestConformance(t *testing.T) {
	msatest.Spool(t, func(t testing.TB, dir string) queue.OpenSpool {
		s, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}
