package integration

import (
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
)

// daemon is a program of somebody else's that a test runs, kills and runs again.
type daemon struct {
	t      testing.TB
	dir    string // its own, with a short name as unix sockets want it
	args   []string
	socket string      // there when it serves
	serves func() bool // when it listens on its socket, unless this says otherwise
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
	d.serves = func() bool { // its socket is there a moment before it listens on it
		nc, err := net.Dial("unix", d.socket)
		if err == nil {
			_ = nc.Close()
		}
		return err == nil
	}
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
		installed.AwaitStopped(d.t, d.cmd.Process.Pid)
	}
}
