//go:build linux

// Package postgres runs Debian's PostgreSQL for tests: in a directory of its own, to be killed, stopped and
// failed over to a standby; or one for all tests that want a database only.
package postgres

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
)

// patience is how long a test waits for the server, on a machine that has other things to do.
const patience = 2 * time.Minute

// Server is one PostgreSQL.
type Server struct {
	Database // the one that initdb makes

	t   testing.TB
	uid *syscall.Credential // it refuses to run as root
	dir string
	bin string
	cmd *exec.Cmd
}

// Start makes a database and starts its server. The test is skipped where PostgreSQL is not installed.
func Start(t testing.TB) *Server {
	t.Helper()
	s := prepare(t)
	s.make()
	s.Start()
	return s
}

// made is a database as initdb makes it, less the templates of others, in an archive: to unpack it takes a tenth of the time, and tests need dozens.
var made struct {
	sync.Mutex
	archive []byte
}

func (s *Server) make() {
	s.t.Helper()
	made.Lock()
	defer made.Unlock()
	if made.archive != nil {
		unpack := s.program("tar", "-xf", "-")
		unpack.Stdin = bytes.NewReader(made.archive)
		if out, err := unpack.CombinedOutput(); err != nil {
			s.t.Fatalf("unpacking a database: %v\n%s", err, out)
		}
		return
	}
	s.must("initdb", "-D", s.dir+"/data", "-U", "msa", "-E", "UTF8", "--auth=trust", "--no-sync", "--no-instructions", "--wal-segsize=1")
	single := s.command("postgres", "--single", "-D", s.dir+"/data", "postgres")
	single.Stdin = strings.NewReader("UPDATE pg_database SET datistemplate = false\nDROP DATABASE template0\nDROP DATABASE template1\n")
	if out, err := single.CombinedOutput(); err != nil || bytes.Contains(out, []byte("ERROR")) {
		s.t.Fatalf("dropping templates: %v\n%s", err, out)
	}
	var err error
	if made.archive, err = s.program("tar", "-cf", "-", "data").Output(); err != nil {
		s.t.Fatal("packing a database: ", err)
	}
}

func prepare(t testing.TB) *Server {
	t.Helper()
	s := &Server{Database: Database{name: "postgres"}, t: t, bin: filepath.Dir(installed.Need(t, "initdb"))}
	s.dir, s.uid = installed.OwnDir(t, "postgres", "nobody")
	s.Port = installed.FreePort(t)
	return s
}

func (s *Server) command(name string, args ...string) *exec.Cmd {
	return s.program(filepath.Join(s.bin, name), args...)
}

// program is one that runs as the server does, in its directory.
func (s *Server) program(path string, args ...string) *exec.Cmd {
	cmd := exec.Command(path, args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "HOME="+s.dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.uid, Pdeathsig: syscall.SIGKILL}
	return cmd
}

func (s *Server) must(name string, args ...string) {
	s.t.Helper()
	if out, err := s.command(name, args...).CombinedOutput(); err != nil {
		s.t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// Start starts the server again, with settings besides, and waits for it.
func (s *Server) Start(settings ...string) {
	s.t.Helper()
	args := []string{"-D", s.dir + "/data", "-p", fmt.Sprint(s.Port), "-c", "listen_addresses=127.0.0.1",
		"-c", "unix_socket_directories=", "-c", "dynamic_shared_memory_type=mmap", "-c", "shared_buffers=16MB", "-c", "max_connections=200",
		"-c", "wal_init_zero=off", "-c", "wal_recycle=off"} // on a disk in memory both are for nothing
	for _, v := range settings {
		args = append(args, "-c", v)
	}
	s.cmd = s.command("postgres", args...)
	output, err := os.OpenFile(s.output(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer output.Close()
	s.cmd.Stdout, s.cmd.Stderr = output, output
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	cmd := s.cmd
	s.t.Cleanup(func() {
		s.kill(cmd)
		Release(s.dir + "/data")
		if s.t.Failed() {
			s.t.Logf("the server's output ends with:\n%s", s.said())
		}
	})
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		c, err := pgx.Connect(context.Background(), s.DSN())
		if err == nil {
			_ = c.Close(context.Background())
			return
		}
		if time.Now().After(end) {
			s.t.Fatal("the server does not come up:", err, s.said())
		}
	}
}

func (s *Server) output() string { return s.dir + "/output" }

// said is the end of what the server has said.
func (s *Server) said() string {
	text, _ := os.ReadFile(s.output())
	return string(text[max(0, len(text)-5000):])
}

// Kill kills the server with all its processes, as a power switch would.
func (s *Server) Kill() { s.kill(s.cmd) }

// kill returns when all are gone: while one has the memory of them all, no server starts in the directory.
func (s *Server) kill(cmd *exec.Cmd) {
	if cmd.ProcessState != nil {
		return
	}
	_ = cmd.Process.Signal(syscall.SIGSTOP) // it begins no other meanwhile
	installed.AwaitStopped(s.t, cmd.Process.Pid)
	all := signal(cmd, syscall.SIGKILL)
	_ = cmd.Wait()
	installed.AwaitEnded(s.t, all...)
}

// Stop ends the server in good order; sessions are ended.
func (s *Server) Stop() {
	s.t.Helper()
	_ = s.cmd.Process.Signal(syscall.SIGINT) // a fast shutdown
	if err := s.cmd.Wait(); err != nil {
		s.t.Error("shutdown:", err)
	}
}

// Aged makes the server one that has given out so many numbers of objects, as after years.
func (s *Server) Aged(oid uint32) {
	s.t.Helper()
	s.Stop()
	s.must("pg_resetwal", "-o", fmt.Sprint(oid), "-D", s.dir+"/data")
	s.Start()
}

// Signal sends a signal to all processes of the server, such as SIGSTOP.
func (s *Server) Signal(sig syscall.Signal) {
	all := signal(s.cmd, sig)
	if sig == syscall.SIGSTOP {
		installed.AwaitStopped(s.t, all...)
	}
}

func signal(cmd *exec.Cmd, sig syscall.Signal) (all []int) {
	all = []int{cmd.Process.Pid}
	for i := 0; i < len(all); i++ {
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", all[i], all[i]))
		for _, f := range strings.Fields(string(children)) {
			if child, err := strconv.Atoi(f); err == nil {
				all = append(all, child)
			}
		}
	}
	for _, pid := range all {
		_ = syscall.Kill(pid, sig)
	}
	return all
}

// Standby makes another server that follows this one, which from then on commits nothing that the standby
// does not have.
func (s *Server) Standby() *Server {
	s.t.Helper()
	b := prepare(s.t)
	b.follow(s)
	return b
}

func (s *Server) follow(primary *Server) {
	s.t.Helper()
	s.must("pg_basebackup", "-D", s.dir+"/data", "-R", "-X", "stream", "-c", "fast", "--no-sync",
		"-d", fmt.Sprintf("host=127.0.0.1 port=%d user=msa application_name=standby", primary.Port))
	s.Start()
	primary.synchronous("*")
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if primary.Exec(s.t, "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'") == 1 {
			return
		}
		if time.Now().After(end) {
			s.t.Fatal("the standby does not follow")
		}
	}
}

func (s *Server) synchronous(names string) {
	s.t.Helper()
	s.Exec(s.t, "ALTER SYSTEM SET synchronous_standby_names = '"+names+"'")
	s.Exec(s.t, "SELECT pg_reload_conf()")
}

// Promote makes a standby the primary, whose own primary was killed.
func (s *Server) Promote() {
	s.t.Helper()
	s.synchronous("") // it has none now
	s.Exec(s.t, "SELECT pg_promote(true, 60)")
}

// Follow has a server that was killed forget what it had and follow the one that is the primary now.
func (s *Server) Follow(primary *Server) {
	s.t.Helper()
	Release(s.dir + "/data")
	if err := os.RemoveAll(s.dir + "/data"); err != nil {
		s.t.Fatal(err)
	}
	s.follow(primary)
}
