//go:build linux

package spoolpostgres

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
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

// server is Debian's PostgreSQL in a directory of the test's own.
type server struct {
	t    testing.TB
	uid  *syscall.Credential // it refuses to run as root
	dir  string
	port int
	bin  string
	cmd  *exec.Cmd
}

func startPostgres(t testing.TB) *server {
	t.Helper()
	s := &server{t: t, bin: filepath.Dir(installed.Need(t, "initdb"))}
	var err error
	if s.dir, err = os.MkdirTemp("", "msa-pg-"); err != nil { // t.TempDir lets nobody else in
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(s.dir) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.port = l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	if os.Getuid() == 0 {
		for _, name := range []string{"postgres", "nobody"} {
			if u, err := user.Lookup(name); err == nil {
				uid, _ := strconv.Atoi(u.Uid)
				gid, _ := strconv.Atoi(u.Gid)
				s.uid = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
				if err := os.Chown(s.dir, uid, gid); err != nil {
					t.Fatal(err)
				}
				break
			}
		}
	}
	if out, err := s.command("initdb", "-D", s.dir+"/data", "-U", "msa", "-E", "UTF8", "--auth=trust", "--no-sync", "--no-instructions").CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	s.start()
	return s
}

func (s *server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "HOME="+s.dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.uid, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// start starts the server, with settings besides, and waits for it.
func (s *server) start(settings ...string) {
	s.t.Helper()
	args := []string{"-D", s.dir + "/data", "-p", fmt.Sprint(s.port), "-c", "listen_addresses=127.0.0.1",
		"-c", "unix_socket_directories=", "-c", "shared_buffers=16MB", "-c", "max_connections=200"}
	for _, v := range settings {
		args = append(args, "-c", v)
	}
	s.cmd = s.command("postgres", args...)
	var output bytes.Buffer
	s.cmd.Stdout, s.cmd.Stderr = &output, &output
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	cmd := s.cmd
	s.t.Cleanup(func() {
		s.kill(cmd)
		if s.t.Failed() {
			s.t.Logf("the server's output:\n%.5000s", output.String())
		}
	})
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if c, err := pgx.Connect(context.Background(), s.dsn()); err == nil {
			_ = c.Close(context.Background())
			return
		} else if time.Now().After(end) {
			s.t.Fatal("the server does not come up:", err, output.String())
		}
	}
}

// kill kills the server with all its processes.
func (s *server) kill(cmd *exec.Cmd) {
	if cmd.ProcessState != nil {
		return
	}
	for _, pid := range tree(cmd.Process.Pid) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	_ = cmd.Wait()
}

func (s *server) processes() []int { return tree(s.cmd.Process.Pid) }

// tree is a process with its children and theirs.
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

func (s *server) dsn() string {
	return fmt.Sprintf("postgres://msa@127.0.0.1:%d/postgres?sslmode=disable", s.port)
}

func (s *server) exec(t testing.TB, statement string, args ...any) int64 {
	t.Helper()
	c, err := pgx.Connect(context.Background(), s.dsn())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(context.Background()) }()
	tag, err := c.Exec(context.Background(), statement, args...)
	if err != nil {
		t.Fatal(err)
	}
	return tag.RowsAffected()
}

// proxy is between a node and the server.
type proxy struct {
	listener net.Listener
	to       string
	mu       sync.Mutex
	conns    map[net.Conn]bool
	cut      bool
	// commit says what to do with a COMMIT: 0 nothing, 'b' cuts the connection before the server has it, 'a' after it was done.
	commit func() byte
}

func newProxy(t testing.TB, to int) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, to: fmt.Sprintf("127.0.0.1:%d", to), conns: make(map[net.Conn]bool)}
	t.Cleanup(func() { _ = l.Close(); p.set(true) })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(c)
		}
	}()
	return p
}

func (p *proxy) dsn() string {
	return fmt.Sprintf("postgres://msa@%s/postgres?sslmode=disable", p.listener.Addr())
}

// set cuts all connections and refuses new ones, or no longer.
func (p *proxy) set(cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut = cut; cut {
		for c := range p.conns {
			_ = c.Close()
		}
	}
}

func (p *proxy) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer server.Close()
	p.mu.Lock()
	if p.cut {
		p.mu.Unlock()
		return
	}
	p.conns[client], p.conns[server] = true, true
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.conns, client)
		delete(p.conns, server)
		p.mu.Unlock()
	}()
	var after sync.Once
	mute := make(chan struct{})
	go func() {
		defer client.Close()
		buf := make([]byte, 64<<10)
		for {
			n, err := server.Read(buf)
			if err != nil {
				return
			}
			select {
			case <-mute: // the server has done it, and says so
				return
			default:
			}
			if _, err := client.Write(buf[:n]); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		if p.commit != nil && bytes.Contains(bytes.ToLower(buf[:n]), []byte("commit\x00")) {
			switch p.commit() {
			case 'b':
				return
			case 'a':
				after.Do(func() { close(mute) })
			}
		}
		if _, err := server.Write(buf[:n]); err != nil {
			return
		}
	}
}
