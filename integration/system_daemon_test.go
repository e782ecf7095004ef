package integration

import (
	"bytes"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// daemon is a program of somebody else's that a test runs, kills and runs again.
type daemon struct {
	t      testing.TB
	dir    string // its own, with a short name as unix sockets want it
	args   []string
	socket string      // there when it serves
	serves func() bool // when its socket is there, unless this says otherwise
	cmd    *exec.Cmd
}

// newDaemon prepares a program, in whose arguments and files $D is its directory and $USER who runs the tests. Its socket is $D/socket.
func newDaemon(t testing.TB, files map[string]string, args ...string) *daemon {
	t.Helper()
	dir, err := os.MkdirTemp("", "peer")
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{t: t, dir: dir, socket: filepath.Join(dir, "socket")}
	d.serves = func() bool { _, err := os.Stat(d.socket); return err == nil }
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for _, a := range args {
		d.args = append(d.args, d.expand(a))
	}
	for name, text := range files {
		d.write(name, text)
	}
	return d
}

func (d *daemon) expand(text string) string {
	name := "root"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	return strings.NewReplacer("$D", d.dir, "$USER", name).Replace(text)
}

func (d *daemon) write(name, text string) {
	d.t.Helper()
	file := filepath.Join(d.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(d.expand(text)), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// run starts the program and waits for its socket.
func (d *daemon) run() *daemon {
	d.t.Helper()
	_ = os.Remove(d.socket)
	log, err := os.OpenFile(filepath.Join(d.dir, "output"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	d.cmd = exec.Command(d.args[0], d.args[1:]...)
	d.cmd.Dir = d.dir
	d.cmd.Stdout, d.cmd.Stderr = log, log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	_ = log.Close()
	cmd := d.cmd
	d.t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		if d.t.Failed() {
			output, _ := os.ReadFile(filepath.Join(d.dir, "output"))
			d.t.Logf("%s:\n%s", d.args[0], output)
		}
	})
	await(d.t, d.args[0], d.serves)
	return d
}

// signal goes to the program and all its children.
func (d *daemon) signal(sig syscall.Signal) {
	d.t.Helper()
	if err := syscall.Kill(-d.cmd.Process.Pid, sig); err != nil {
		d.t.Fatal(err)
	}
	switch sig {
	case syscall.SIGKILL:
		_ = d.cmd.Wait()
	case syscall.SIGSTOP:
		awaitStopped(d.t, d.cmd.Process.Pid)
	}
}

// awaitStopped waits until every thread of a process and of its group has heard SIGSTOP: on a busy
// machine one may go on for a while.
func awaitStopped(t testing.TB, pid int) {
	t.Helper()
	await(t, "the process to stop", func() bool {
		stats, _ := filepath.Glob("/proc/[0-9]*/task/*/stat")
		for _, name := range stats {
			b, err := os.ReadFile(name)
			if err != nil {
				continue
			}
			// pid (name) state ppid pgrp ...
			fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
			of := strings.Split(name, "/")[2]
			if len(fields) > 2 && (fields[2] == strconv.Itoa(pid) || of == strconv.Itoa(pid)) && !strings.Contains("TtZX", fields[0]) {
				return false
			}
		}
		return true
	})
}
