package program

import (
	"os/exec"
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
