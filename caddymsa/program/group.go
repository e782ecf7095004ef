//go:build unix

package program

import (
	"os"
	"syscall"
)

// killGroup kills a command and its process group, which it may have left.
func killGroup(command *os.Process) error {
	err := syscall.Kill(-command.Pid, syscall.SIGKILL)
	if killed := command.Kill(); err != nil {
		err = killed
	}
	return err
}
