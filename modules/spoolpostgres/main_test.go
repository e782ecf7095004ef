//go:build linux

package spoolpostgres

import (
	"flag"
	"os"
	"sync/atomic"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
)

// halves has a test that repeats what others prove do so by halves outside CI: one when it runs, and the other when it runs again.
type halves struct{ runs atomic.Int32 }

// begin is called for each run. The function that it returns is called for each part of the run, and skips every other one.
func (h *halves) begin() (part func(t testing.TB)) {
	n := h.runs.Add(1)
	return func(t testing.TB) {
		t.Helper()
		if n++; n%2 != 0 && !installed.InCI() {
			t.Skip("of the other half")
		}
	}
}

func TestMain(m *testing.M) {
	for _, secret := range []string{"s3cret", "wr0ng"} { // of the settings that bodies makes
		_ = os.Setenv("MSA_S3_"+secret, secret)
	}
	_ = flag.Set("test.parallel", "10") // they wait for databases rather than work
	code := m.Run()
	_ = os.RemoveAll(queuesTests.dir)
	os.Exit(code)
}
