// Package proc reads what a server has used, from Linux's /proc.
package proc

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of times in /proc/<pid>/stat on every architecture (USER_HZ).
const tick = time.Second / 100

// stat is what of /proc/<pid>/stat is of use here.
type stat struct {
	pid, parent int
	cpu         time.Duration // with that of children that ended and were waited for
}

// parse reads the line; the command in it may hold spaces and parentheses.
func parse(line string) (s stat, err error) {
	open, end := strings.IndexByte(line, '('), strings.LastIndexByte(line, ')')
	if open < 0 || end < 0 {
		return s, fmt.Errorf("no command in %q", line)
	}
	if s.pid, err = strconv.Atoi(strings.TrimSpace(line[:open])); err != nil {
		return s, err
	}
	f := strings.Fields(line[end+1:]) // begins at field 3 of proc(5)
	if len(f) < 15 {
		return s, fmt.Errorf("too few fields in %q", line)
	}
	if s.parent, err = strconv.Atoi(f[1]); err != nil {
		return s, err
	}
	for _, field := range f[11:15] { // utime, stime, cutime, cstime
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return s, err
		}
		s.cpu += time.Duration(n) * tick
	}
	return s, nil
}

func all() map[int]stat {
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	stats := make(map[int]stat, len(files))
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		if s, err := parse(string(text)); err == nil {
			stats[s.pid] = s
		}
	}
	return stats
}

// Tree returns the processes and all that descend from them.
func Tree(roots ...int) (pids []int) {
	for pid := range tree(roots) {
		pids = append(pids, pid)
	}
	return pids
}

func tree(roots []int) map[int]stat {
	stats, in := all(), make(map[int]stat)
	for pid, s := range stats {
		for at, up := s, 0; up < 32; up++ {
			if isRoot(at.pid, roots) {
				in[pid] = s
				break
			}
			next, ok := stats[at.parent]
			if !ok {
				break
			}
			at = next
		}
	}
	return in
}

func isRoot(pid int, roots []int) bool {
	for _, r := range roots {
		if r == pid {
			return true
		}
	}
	return false
}

// CPU is the time that the processes and their descendants have used, those that
// have ended among them as far as their parents have waited for them.
func CPU(roots ...int) (sum time.Duration) {
	for _, s := range tree(roots) {
		sum += s.cpu
	}
	return sum
}

// Memory of a process, in octets.
type Memory struct {
	Peak int64 // VmHWM: the most that was resident since the start
	RSS  int64 // resident now, the program's own pages included
	Anon int64 // resident now, without what is mapped from files
}

// ReadMemory reads /proc/<pid>/status.
func ReadMemory(pid int) (m Memory, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return m, err
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		var into *int64
		switch name {
		case "VmHWM":
			into = &m.Peak
		case "VmRSS":
			into = &m.RSS
		case "RssAnon":
			into = &m.Anon
		default:
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return m, err
		}
		*into = kib << 10
	}
	return m, nil
}
