package program

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// As PID 1 the server inherits zombies that nobody knows. They are reaped at second sight, so that whoever started one can wait for it.
func TestStrays(t *testing.T) {
	adopt()
	cmd := exec.Command("sh", "-c", "exit 3")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(2 * time.Minute); !isZombie(cmd.Process.Pid); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no zombie")
		}
	}
	seen := reapZombies(nil)
	if !seen[cmd.Process.Pid] || !isZombie(cmd.Process.Pid) {
		t.Fatal("not seen, or reaped at first sight")
	}
	reapZombies(seen)
	if err := syscall.Kill(cmd.Process.Pid, 0); err != syscall.ESRCH {
		t.Error("still there:", err)
	}
	_ = cmd.Wait()
}

// What is in a session of its own is ended also where the command ends while that is just becoming another program, when
// nothing can be read of its environment.
func TestEndedWhileItExecs(t *testing.T) {
	dir := t.TempDir()
	c := Config{Command: []string{"/bin/sh", "-c", `cd "$1"; rm -f child
setsid sh -c 'echo $$ > child.tmp; mv child.tmp child; exec sleep 1000' & until [ -e child ]; do :; done`, "sh", dir}}
	p, err := c.Open()
	if err != nil {
		t.Fatal(err)
	}
	for range 50 {
		if _, err := p.Run(t.Context(), nil, strings.NewReader("")); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(dir, "child"))
		pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
		if err != nil || pid == 0 {
			t.Fatal(err)
		}
		if env, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline"); strings.HasPrefix(string(env), "sleep\x001000") {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			t.Fatal("it is left behind")
		}
	}
}
