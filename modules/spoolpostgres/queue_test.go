//go:build linux

package spoolpostgres

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
)

// The queue's own tests, in their own time, with this spool instead of one in memory. They are built with a tag: the queue's package is built and
// tested without Caddy, which a spool brings along.
func TestQueuesOwnTests(t *testing.T) {
	t.Parallel()
	installed.Need(t, "initdb")
	out, err := exec.Command("go", "test", "-tags", "postgres", "-count=1", "-run", "^TestOnPostgres$", "-v", "-timeout", "10m",
		"github.com/caddy-msa/caddy-msa/caddymsa/queue").CombinedOutput()
	if n := strings.Count(string(out), "\n    --- PASS: TestOnPostgres/"); err != nil || n < installed.Rounds(50, 8) {
		t.Errorf("%v, %d tests passed:\n%s", err, n, out)
	}
}
