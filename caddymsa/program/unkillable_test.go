//go:build unix

package program

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
)

// role is what this test's own binary does in the place of a command.
const role = "ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "leaves its group":
		group, err := syscall.Getpgid(os.Getppid())
		if err == nil {
			err = syscall.Setpgid(0, group)
		}
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		time.Sleep(time.Hour)
	case "becomes another user": // as sudo does
		err := syscall.Setuid(0)
		if err == nil {
			err = os.WriteFile(os.Getenv("BEGUN")+".tmp", []byte(strconv.Itoa(os.Getpid())), 0o600)
		}
		if err == nil {
			err = os.Rename(os.Getenv("BEGUN")+".tmp", os.Getenv("BEGUN"))
		}
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		time.Sleep(time.Hour)
	case "runs one":
		fmt.Println(runOne(os.Getenv("COMMAND"), os.Getenv("BEGUN")))
	default:
		os.Exit(m.Run())
	}
}

// runOne runs a command and gives it up once it has begun.
func runOne(command, begun string) error {
	p, err := (&Config{Command: []string{command}, Env: map[string]string{role: "becomes another user", "BEGUN": begun}}).Open()
	if err != nil {
		return err
	}
	dying = time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		for _, err := os.Stat(begun); err != nil; _, err = os.Stat(begun) {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	_, err = p.Run(ctx, nil, bytes.NewReader(make([]byte, 1<<20))) // more than is between them
	return err
}

// A command that has left its process group is killed nevertheless.
func TestLeavesItsGroup(t *testing.T) {
	p, err := (&Config{Command: []string{os.Args[0]}, Env: map[string]string{role: "leaves its group"}, Timeout: conf.Duration(time.Second)}).Open()
	if err != nil {
		t.Fatal(err)
	}
	if said, err := p.Run(t.Context(), nil, strings.NewReader("")); err == nil || !strings.Contains(err.Error(), "did not end within 1s") {
		t.Errorf("%v: %s", err, said)
	}
}

// One that cannot be killed, since it runs as another user, is left behind when its time is over: it holds up nothing.
func TestCannotBeKilled(t *testing.T) {
	installed.NeedRoot(t) // to give a program to root
	dir := t.TempDir()
	command := filepath.Join(dir, "command")
	binary, err := os.ReadFile(os.Args[0])
	if err == nil {
		err = os.WriteFile(command, binary, 0o755) //nolint:gosec // others run it
	}
	if err == nil {
		err = os.Chmod(command, 0o755|os.ModeSetuid) //nolint:gosec // it is what the test is about
	}
	for up := dir; err == nil && up != os.TempDir() && up != "/"; up = filepath.Dir(up) {
		err = os.Chmod(up, 0o755) //nolint:gosec // others go through it
	}
	if err != nil {
		t.Fatal(err)
	}
	begun := filepath.Join(dir, "begun")
	cmd := exec.CommandContext(t.Context(), command)
	cmd.Env, cmd.Dir = []string{role + "=runs one", "COMMAND=" + command, "BEGUN=" + begun, "HOME=" + dir}, dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.Output()
	b, readErr := os.ReadFile(begun)
	if pid, _ := strconv.Atoi(string(b)); pid > 0 {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	if strings.Contains(string(out), "exit status 1") {
		t.Skip("the system does not let a program become another user")
	}
	if err != nil || !strings.Contains(string(out), "cannot be killed") {
		t.Errorf("%v, %v: %s", err, readErr, out)
	}
}
