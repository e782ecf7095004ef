package proc

import (
	"os"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	s, err := parse("42 (a b) c)) S 7 42 42 0 -1 4194560 1 2 3 4 100 20 3 4 20 0 1 0 99")
	if err != nil || s != (stat{pid: 42, parent: 7, cpu: 1270 * time.Millisecond}) {
		t.Errorf("%+v, %v", s, err)
	}
	for _, line := range []string{"", "42", "42 (x) S 7", "x (x) S 7 1 1 1 1 1 1 1 1 1 1 1 1 1 1"} {
		if _, err := parse(line); err == nil {
			t.Errorf("no error for %q", line)
		}
	}
}

func TestSelf(t *testing.T) {
	if _, err := os.Stat("/proc/self/clear_refs"); err != nil {
		t.Skip("skipped: no Linux /proc")
	}
	m, err := ReadMemory(os.Getpid())
	if err != nil || m.RSS <= 0 || m.Peak < m.Anon {
		t.Errorf("%+v, %v", m, err)
	}
	pids := Tree(os.Getppid())
	found := false
	for _, pid := range pids {
		found = found || pid == os.Getpid()
	}
	if !found {
		t.Errorf("this process is not among its parent's descendants %v", pids)
	}
}
