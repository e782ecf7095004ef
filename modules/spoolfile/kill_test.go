package spoolfile

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// childDir names the spool for which the test binary runs as a victim.
const childDir = "SPOOLFILE_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		victim(dir, os.Getenv(childDir+"_ROUND"))
		return
	}
	os.Exit(m.Run())
}

// victim uses the spool until it is killed, and says what it was promised.
func victim(dir, round string) {
	var n int
	_, _ = fmt.Sscan(round, &n)
	s, err := Open(dir, Options{Threshold: 2 << 10, memTable: 64 << 10})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	d := newDisk() // not the disk: it is asked for its marks only
	var mu sync.Mutex
	said := 0
	say := func() {
		mu.Lock()
		defer mu.Unlock()
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, e := range d.log[said:] {
			p := newPromises()
			e.mark(p)
			for id := range p.committed {
				fmt.Println("committed", id)
			}
			for id, k := range p.deleting {
				fmt.Println("deleting", id, k)
			}
			for id, k := range p.deleted {
				fmt.Println("deleted", id, k)
			}
			for id := range p.aborted {
				fmt.Println("aborted", id)
			}
			for id, k := range p.began {
				fmt.Println("began", id, k)
			}
			for id, k := range p.recorded {
				fmt.Println("recorded", id, k)
			}
		}
		said = len(d.log)
	}
	d.said = say
	if err := exercise(s, d, 1000*n, 1000*(n+1), 4); err != nil {
		fmt.Println("error", err)
	}
	fmt.Println("end")
}

// SIGKILL at any moment loses nothing that was accepted.
func TestKill(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts processes")
	}
	dir := t.TempDir()
	known := newPromises()
	for round := range 8 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childDir+"="+dir, fmt.Sprintf("%s_ROUND=%d", childDir, round))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := 0
		for in := bufio.NewScanner(out); in.Scan(); lines++ {
			if lines == 20+round*60 {
				_ = cmd.Process.Kill()
			}
			var what, id string
			var n int
			_, _ = fmt.Sscan(in.Text(), &what, &id, &n)
			switch what {
			case "committed":
				known.committed[id] = true
			case "deleting":
				known.deleting[id] += n
			case "deleted":
				known.deleted[id] += n
			case "aborted":
				known.aborted[id] = true
			case "began":
				known.began[id] += n
			case "recorded":
				known.recorded[id] += n
			default:
				t.Fatalf("round %d: the victim says %q", round, in.Text())
			}
		}
		if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Fatalf("round %d: the victim was not killed: %v", round, err)
		}
		// An attempt that was recorded when it was killed may not have been said.
		if err := auditIn(dir, vfs.Default, Options{Threshold: 2 << 10, memTable: 64 << 10}, known); err != nil {
			t.Fatalf("round %d, killed after %d lines: %v", round, lines, err)
		}
	}
	if len(known.committed) < 100 || len(known.deleted) < 20 {
		t.Errorf("%d messages accepted and %d delivered are too few to say anything", len(known.committed), len(known.deleted))
	}
}
