//go:build unix && !linux

package program

import (
	"os/exec"
	"syscall"
)

// ownGroup gives the command a process group, which is killed with it.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return killGroup(cmd.Process) }
}

// wait returns when the command has ended, and ends its group. What is in a session of its own stays.
func wait(cmd *exec.Cmd, _ string) error {
	err := cmd.Wait()
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	return err
}
