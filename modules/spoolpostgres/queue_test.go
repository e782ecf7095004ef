//go:build linux

package spoolpostgres

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
)

const queuePackage = "github.com/caddy-msa/caddy-msa/caddymsa/queue"

// queuesTests is the program of the queue's own tests, which is linked once however often they run; TestMain removes it.
var queuesTests struct {
	sync.Once
	dir     string // of the program
	sources string // of the package, where its tests run
	err     error
	runs    atomic.Int32
}

func buildQueuesTests() {
	q := &queuesTests
	if q.dir, q.err = os.MkdirTemp("", "msa-queue-"); q.err != nil {
		return
	}
	if out, err := exec.Command("go", "test", "-c", "-tags", "postgres", "-o", q.dir+"/queue.test", queuePackage).CombinedOutput(); err != nil {
		q.err = fmt.Errorf("%w\n%s", err, out)
		return
	}
	sources, err := exec.Command("go", "list", "-f", "{{.Dir}}", queuePackage).Output()
	q.sources, q.err = strings.TrimSpace(string(sources)), err
}

// The queue's own tests, in their own time, with this spool instead of one in memory. They are built with a tag: the queue's package is built and
// tested without Caddy, which a spool brings along. All of them run in CI, and elsewhere some, which are others when this runs again.
func TestQueuesOwnTests(t *testing.T) {
	t.Parallel()
	installed.Need(t, "initdb")
	queuesTests.Do(buildQueuesTests)
	if queuesTests.err != nil {
		t.Fatal(queuesTests.err)
	}
	cmd := exec.Command(queuesTests.dir+"/queue.test", "-test.run", "^TestOnPostgres$", "-test.v", "-test.timeout", "10m")
	cmd.Dir = queuesTests.sources
	cmd.Env = append(os.Environ(), fmt.Sprint("MSA_TEST_PART=", queuesTests.runs.Add(1)-1))
	out, err := cmd.CombinedOutput()
	if n := strings.Count(string(out), "\n    --- PASS: TestOnPostgres/"); err != nil || n < installed.Rounds(50, 4) {
		t.Errorf("%v, %d tests passed:\n%s", err, n, out)
	}
}
