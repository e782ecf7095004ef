package integration

import (
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
)

// startRedis is a redis-server on a unix socket, which can be stopped in its tracks.
func startRedis(t testing.TB, dir string) (socket string, cmd *exec.Cmd) {
	t.Helper()
	program := need(t, "redis-server")
	socket = filepath.Join(dir, "redis.sock")
	cmd = exec.Command(program, "--port", "0", "--unixsocket", socket, "--dir", dir, "--save", "", "--appendonly", "no")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	await(t, "redis", func() bool { return exec.Command("redis-cli", "-s", socket, "ping").Run() == nil })
	return socket, cmd
}

// Two nodes share a limit through Redis; when Redis hangs, dies and comes back, submissions go on.
func TestRateLimitRedis(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	socket, redis := startRedis(t, dir)
	config := layout{msa: `
	policy rate_limit {
		messages 5
		window   1h
		name     shared
		redis ` + socket + ` {
			timeout 10s
		}
	}`}
	one, two := start(t, config), start(t, config)
	for i, s := range []*server{one, two, one, two, one} {
		if id := s.mustSend(s.tlsConfig(), "alice@example.org", "alice@example.org", "bob@example.net", letter("rate")); id == "" {
			t.Fatal(i)
		}
	}
	refused := func(s *server) string {
		t.Helper()
		c, err := s.alice(s.tlsConfig())
		if err != nil {
			t.Fatal(err)
		}
		defer c.close()
		if err := c.send("MAIL FROM:<alice@example.org>\r\n"); err != nil {
			t.Fatal(err)
		}
		reply, err := c.reply()
		if err != nil {
			t.Fatal(err)
		}
		return reply
	}
	for _, s := range []*server{one, two} {
		if reply := refused(s); !strings.HasPrefix(reply, "450 4.7.1 Too many messages: 5 in 1h are allowed, come back in ") || !strings.HasSuffix(reply, "(rate_limit: messages)") {
			t.Errorf("the sixth: %s", reply)
		}
	}
	// It hangs: this node's own buckets, at once.
	config.msa = strings.Replace(config.msa, "timeout 10s", "timeout 100ms", 1)
	one.mustLoad(one.caddyfile(config))
	if err := redis.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	installed.AwaitStopped(t, redis.Process.Pid)
	began := time.Now()
	for range 5 {
		one.mustSend(one.tlsConfig(), "alice@example.org", "alice@example.org", "bob@example.net", letter("alone"))
	}
	if took := time.Since(began); took > patience {
		t.Errorf("five messages took %v", took)
	}
	if reply := refused(one); !strings.HasPrefix(reply, "450 4.7.1") {
		t.Errorf("no limit while redis hangs: %s", reply)
	}
	one.await("the log", func() bool { return strings.Contains(one.log.String(), "redis does not answer") })
	if err := redis.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	one.await("redis to be asked again", func() bool {
		_ = refused(one)
		return strings.Contains(one.log.String(), "redis answers again")
	})
	_ = redis.Process.Kill()
	two.mustSend(two.tlsConfig(), "alice@example.org", "alice@example.org", "bob@example.net", letter("alone"))
}
