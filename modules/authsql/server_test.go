//go:build linux

package authsql

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
)

// server is a real database server in a directory of the test's own.
type server struct {
	t    testing.TB
	uid  *syscall.Credential // servers refuse to run as root
	dir  string
	port int
	args []string
	cmd  *exec.Cmd
}

// newServer makes the directory, which belongs to the first of the users that exists.
func newServer(t testing.TB, users ...string) *server {
	t.Helper()
	s := &server{t: t, port: installed.FreePort(t)}
	s.dir, s.uid = installed.OwnDir(t, users...)
	return s
}

func (s *server) command(args ...string) *exec.Cmd {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "HOME="+s.dir, "TMPDIR="+s.dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.uid, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// run runs a program of the server's to its end.
func (s *server) run(args ...string) {
	s.t.Helper()
	if out, err := s.command(args...).CombinedOutput(); err != nil {
		s.t.Fatalf("%s: %v\n%s", args[0], err, out)
	}
}

// start starts the server, and does not wait for it.
func (s *server) start() {
	s.t.Helper()
	s.cmd = s.command(s.args...)
	var output bytes.Buffer
	s.cmd.Stdout, s.cmd.Stderr = &output, &output
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	cmd := s.cmd
	s.t.Cleanup(func() {
		s.kill(cmd)
		if s.t.Failed() {
			s.t.Logf("the server's output:\n%s", output.String())
		}
	})
}

// tree is the server's processes, itself first.
func tree(pid int) []int {
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", all[i], all[i]))
		for _, f := range strings.Fields(string(children)) {
			if child, err := strconv.Atoi(f); err == nil {
				all = append(all, child)
			}
		}
	}
	return all
}

func (s *server) signal(sig syscall.Signal) {
	pids := tree(s.cmd.Process.Pid)
	for _, pid := range pids {
		_ = syscall.Kill(pid, sig)
	}
	if sig == syscall.SIGSTOP {
		installed.AwaitStopped(s.t, pids...)
	}
}

func (s *server) kill(cmd *exec.Cmd) {
	if cmd.ProcessState == nil {
		s.signal(syscall.SIGKILL)
		_ = cmd.Wait()
	}
}

// await waits until the server takes connections.
func (s *server) await(db *sql.DB) {
	s.t.Helper()
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		err := db.PingContext(ctx)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			s.t.Fatal("the server does not come up:", err)
		}
	}
}

// trouble kills and stops the server while logins are under way: nobody is refused, everybody
// gets an answer in time, and when the server is back, so are logins.
func trouble(t *testing.T, srv *server, db *sql.DB, settings SQL) {
	settings.Timeout = conf.Duration(500 * time.Millisecond)
	s := must(t, &settings)
	const patience = 30 * time.Second // on a machine with much else to do
	recovers(t, s)
	during := func(t *testing.T, end func()) {
		t.Helper()
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		logins := make(chan struct{}, 1000)
		for range 12 { // more than there are connections
			wg.Go(func() {
				for ctx.Err() == nil {
					began := time.Now()
					_, err := s.VerifyPassword(ctx, peer, "alice@example.org", "s3cret")
					if errors.Is(err, caddymsa.ErrCredentials) {
						t.Error("refused, though right")
					}
					if took := time.Since(began); took > patience {
						t.Errorf("%s passed before %v", took, err)
					}
					select {
					case logins <- struct{}{}:
					default:
					}
				}
			})
		}
		for range 100 {
			<-logins
		}
		end()
		for range 30 {
			<-logins
		}
		cancel()
		wg.Wait()
	}
	t.Run("killed", func(t *testing.T) {
		during(t, func() { srv.kill(srv.cmd) })
		cannotTell(t, s, patience)
		// A configuration loads nevertheless.
		again := settings
		again.Timeout++
		must(t, &again)
		srv.start()
		recovers(t, s)
		recovers(t, &again)
	})
	t.Run("stopped", func(t *testing.T) {
		during(t, func() { srv.signal(syscall.SIGSTOP) })
		cannotTell(t, s, patience)
		began := time.Now()
		again := settings
		again.Timeout += 2
		must(t, &again)
		if took := time.Since(began); took > patience {
			t.Errorf("loading took %s", took)
		}
		if err := again.Cleanup(); err != nil || time.Since(began) > 2*patience {
			t.Error("closing:", err, time.Since(began))
		}
		srv.signal(syscall.SIGCONT)
		recovers(t, s)
	})
	t.Run("restarted", func(t *testing.T) {
		// Between two logins: the connections of the old one are not in the way of the first, which may make all of them again.
		again := settings
		again.Timeout = conf.Duration(patience)
		s := must(t, &again)
		login := func() {
			if _, err := s.VerifyPassword(context.Background(), peer, "alice@example.org", "s3cret"); err != nil {
				t.Error(err)
			}
		}
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(login)
		}
		wg.Wait()
		srv.kill(srv.cmd)
		srv.start()
		srv.await(db)
		for range 20 {
			login()
		}
	})
}
