package integration

import (
	"bufio"
	"crypto/tls"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// newTalker makes a client of a connection, before the greeting.
func newTalker(nc net.Conn) *talker {
	return &talker{nc: nc, r: bufio.NewReader(nc)}
}

// command is the binary with the server's directory for a home.
func (s *server) command(args ...string) *exec.Cmd {
	cmd := exec.Command(binary, args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "HOME="+s.dir, "XDG_DATA_HOME="+s.dir, "XDG_CONFIG_HOME="+s.dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// process is run with files to inherit, from descriptor 3 on. It waits for the admin API only.
func (s *server) process(files ...*os.File) {
	s.t.Helper()
	s.cmd = s.command("run", "--config", filepath.Join(s.dir, "Caddyfile"))
	s.cmd.ExtraFiles = files
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	cmd, exited := s.cmd, make(chan struct{})
	s.exited = exited
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-exited
		if s.t.Failed() {
			s.t.Logf("log of the server:\n%s", s.log)
		}
	})
	s.await("the admin API", func() bool {
		select {
		case <-exited:
			s.t.Fatalf("the server ended:\n%s", s.log)
		default:
		}
		resp, err := http.Get("http://" + s.admin + "/config/")
		if err == nil {
			_ = resp.Body.Close()
		}
		return err == nil && strings.Contains(s.log.String(), "serving initial configuration")
	})
}

// ended waits for a process that ends by itself and returns its exit code.
func (s *server) ended() int {
	s.t.Helper()
	select {
	case <-s.exited:
	case <-time.After(patience):
		s.t.Fatal("the process does not end")
	}
	return s.cmd.ProcessState.ExitCode()
}

// tlsFor is tlsConfig for another name.
func (s *server) tlsFor(name string) *tls.Config {
	config := s.tlsConfig()
	config.ServerName = name
	return config
}
