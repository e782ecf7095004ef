//go:build !unix

package program

import "os/exec"

func ownGroup(*exec.Cmd) {}

// wait returns when the command has ended. What it started stays.
func wait(cmd *exec.Cmd, _ string) error { return cmd.Wait() }
