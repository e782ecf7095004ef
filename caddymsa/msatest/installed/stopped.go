package installed

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// AwaitStopped waits until every thread of some processes, and of their groups, has heard SIGSTOP: on a busy
// machine one may go on for a while, and answer.
func AwaitStopped(t testing.TB, pids ...int) {
	t.Helper()
	for end := time.Now().Add(patience); !stopped(pids); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("processes %v do not stop", pids)
		}
	}
}

// AwaitEnded waits until processes that were killed are no more, whoever their parent is: on a busy machine one may keep for a
// while what it has open, or in memory that is shared.
func AwaitEnded(t testing.TB, pids ...int) {
	t.Helper()
	lives := func(pid int) bool {
		s, _ := state("/proc/" + strconv.Itoa(pid) + "/stat")
		return !strings.Contains("ZX", s)
	}
	for end := time.Now().Add(patience); slices.ContainsFunc(pids, lives); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("processes %v do not end", pids)
		}
	}
}

func stopped(pids []int) bool {
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range processes {
		pid, _ := strconv.Atoi(filepath.Base(p))
		_, group := state(p + "/stat")
		if !slices.Contains(pids, pid) && !slices.Contains(pids, group) {
			continue
		}
		threads, _ := filepath.Glob(p + "/task/*/stat")
		for _, thread := range threads {
			if s, _ := state(thread); !strings.Contains("TtZX", s) {
				return false
			}
		}
	}
	return true
}

// state is a thread's, and its process group; empty if it has ended.
func state(stat string) (state string, group int) {
	b, err := os.ReadFile(stat)
	if err != nil {
		return "", 0
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:])) // of: pid (name) state ppid pgrp ...
	if len(fields) < 3 {
		return "", 0
	}
	group, _ = strconv.Atoi(fields[2])
	return fields[0], group
}
