//go:build linux

package main

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/caddy-msa/caddy-msa/integration/bench/proc"
)

const (
	startWait = time.Minute      // for the greeting
	stopWait  = 15 * time.Second // after SIGTERM
)

// process is a server in the foreground, its output in a file.
type process struct {
	cmd    *exec.Cmd
	log    string
	exited chan struct{}
}

func startProcess(dir string, args ...string) (*process, error) {
	// Not beside the users file: that directory is watched, and each line of the log would be an event of it.
	p := &process{log: filepath.Join(dir, "said", "output"), exited: make(chan struct{})}
	if err := os.MkdirAll(filepath.Dir(p.log), 0o700); err != nil {
		return nil, err
	}
	out, err := os.OpenFile(p.log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p.cmd = exec.Command(args[0], args[1:]...)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, out, out
	p.cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	// An interrupt at the terminal is for the runner, which then ends its servers.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// stop ends it, and whatever it wraps (strace passes no SIGTERM on).
func (p *process) stop() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(stopWait):
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.exited
	}
}

// greeted waits for a 220 at addr, and returns how long after since it came.
func (p *process) greeted(addr string, since time.Time) (time.Duration, error) {
	for time.Since(since) < startWait {
		select {
		case <-p.exited:
			return 0, fmt.Errorf("%s ended at once:\n%s", filepath.Base(p.cmd.Path), p.tail())
		default:
		}
		if greets(addr) {
			return time.Since(since), nil
		}
		time.Sleep(time.Millisecond)
	}
	return 0, fmt.Errorf("%s does not answer on %s:\n%s", filepath.Base(p.cmd.Path), addr, p.tail())
}

func greets(addr string) bool {
	nc, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(5 * time.Second))
	line, err := bufio.NewReader(nc).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "220") {
		return false
	}
	_, _ = nc.Write([]byte("QUIT\r\n"))
	return true
}

// tail is the end of what it wrote.
func (p *process) tail() string {
	text, _ := os.ReadFile(p.log)
	return string(text[max(0, len(text)-2000):])
}

// target is a running server to measure.
type target struct {
	name   string
	addr   string
	roots  []int // its processes are these and their descendants
	relays bool  // whether what it accepts comes to the sink
	// delivers: what it accepts comes to an end elsewhere, and its queue is then empty. Of ours.
	delivers bool
	dir      string
	web      string // host:port of a web site that takes the messages; empty: they come by SMTP
	json     bool   // as JSON
	admin    string // of ours: host:port of the admin API
	stop     func()
	clean    func() // between turns
}

func (t *target) cpu() time.Duration { return proc.CPU(t.roots...) }

// memory of a target that is one process.
func (t *target) memory() (proc.Memory, error) { return proc.ReadMemory(t.roots[0]) }

var nextPort = func() *atomic.Uint32 {
	n := new(atomic.Uint32)
	n.Store(rand.Uint32N(20000)) // other processes begin elsewhere
	return n
}()

// freeAddr is none that the system gives to somebody else meanwhile.
func freeAddr() (address string, err error) {
	for range 100 {
		address = fmt.Sprintf("127.0.0.1:%d", 10000+nextPort.Add(1)%20000)
		var ln net.Listener
		if ln, err = net.Listen("tcp", address); err == nil {
			return address, ln.Close()
		}
	}
	return "", err
}
