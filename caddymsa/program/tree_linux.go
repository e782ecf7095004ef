package program

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// adopt makes orphans of commands children of this process, as they are of PID 1 in a container
// anyway, so that they can be found and reaped.
var adopt = sync.OnceFunc(func() {
	if unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == nil || os.Getpid() == 1 {
		go reapStrays()
	}
})

// ownGroup gives the command a process group, which is killed with it.
func ownGroup(cmd *exec.Cmd) {
	adopt()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return killGroup(cmd.Process) }
}

// wait returns when the command has ended, and has ended all that it started. Its group is killed
// while the command is still a zombie: nobody else can have its number.
func wait(cmd *exec.Cmd, mark string) error {
	pid := cmd.Process.Pid
	for unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR { //nolint:revive // again
	}
	_ = syscall.Kill(-pid, syscall.SIGKILL)
	err := cmd.Wait()
	reap(-pid)
	endSessions(mark)
	return err
}

// reap waits for those that a pid means to wait4(2), and that were killed: one process, or with a minus a group. What does not end
// within a moment, since the kernel holds it, is left to reapStrays.
func reap(pid int) {
	for deadline := time.Now().Add(lastWords); time.Now().Before(deadline); {
		done, err := syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil: // ECHILD: none is left
			return
		case done == 0:
			time.Sleep(time.Millisecond)
		}
	}
}

// maxGenerations bounds how often what a killed process leaves behind is looked for.
const maxGenerations = 64

// endSessions kills what the command started in sessions of its own (setsid). When its parents have ended such a
// process is a child of this one, and its environment has the mark. Each that is killed may hand on children. It looks until it
// has found none twice: the kernel's list of children leaves one out now and then while another ends.
func endSessions(mark string) {
	for i, none := 0, 0; i < maxGenerations && none < 2; i++ {
		found := slices.DeleteFunc(children(), func(pid int) bool { return !marked(pid, mark) })
		if len(found) == 0 {
			none++
			continue
		}
		none = 0
		for _, pid := range found {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			reap(pid)
		}
	}
}

// execTime is how long the environment of a process that is just being replaced (execve) may seem to be empty, once it has a command line again.
const execTime = 50 * time.Millisecond

// marked tells whether a process has the mark in its environment. That of another user's cannot be read. One that is just being replaced has
// neither that nor a command line; on a busy machine it may be long at it.
func marked(pid int, mark string) bool {
	dir := "/proc/" + strconv.Itoa(pid)
	deadline, last := time.Now().Add(execTime), time.Now().Add(lastWords)
	for ; ; time.Sleep(time.Millisecond) {
		env, err := os.ReadFile(dir + "/environ")
		if err != nil || len(env) > 0 || isZombie(pid) || time.Now().After(deadline) {
			return err == nil && slices.ContainsFunc(bytes.Split(env, []byte{0}), func(v []byte) bool { return string(v) == mark })
		}
		if line, _ := os.ReadFile(dir + "/cmdline"); len(line) == 0 && time.Now().Before(last) {
			deadline = time.Now().Add(execTime)
		}
	}
}

// children are this process's.
func children() (pids []int) {
	files, _ := filepath.Glob("/proc/self/task/*/children") // each thread has its own
	for _, file := range files {
		list, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for field := range strings.FieldsSeq(string(list)) {
			if pid, err := strconv.Atoi(field); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// strayAge is how long a zombie may wait for whoever started it. What was started by os/exec is
// waited for at once.
const strayAge = 10 * time.Second

// reapStrays reaps orphans that ended by themselves and that no run knows: those of commands that
// cleared their environment, and of other processes where this one is PID 1.
func reapStrays() {
	seen := make(map[int]bool)
	for range time.Tick(strayAge) {
		seen = reapZombies(seen)
	}
}

// reapZombies reaps the zombies that were seen before, and returns the others.
func reapZombies(before map[int]bool) (seen map[int]bool) {
	seen = make(map[int]bool)
	for _, pid := range children() {
		switch {
		case !isZombie(pid):
		case before[pid]:
			_, _ = syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
		default:
			seen[pid] = true
		}
	}
	return seen
}

func isZombie(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	i := bytes.LastIndexByte(stat, ')') // ends the name, which may hold anything
	return err == nil && i >= 0 && bytes.HasPrefix(stat[i:], []byte(") Z"))
}
