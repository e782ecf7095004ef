//go:build linux

package sharing

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/counts"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
)

// startRedis is a redis-server on a unix socket.
func startRedis(t testing.TB) (socket string, cmd *exec.Cmd) {
	t.Helper()
	dir := t.TempDir()
	socket = filepath.Join(dir, "redis.sock")
	cmd = exec.Command(installed.Need(t, "redis-server"), "--port", "0", "--unixsocket", socket, "--dir", dir, "--save", "", "--appendonly", "no")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for end := time.Now().Add(time.Minute); exec.Command("redis-cli", "-s", socket, "ping").Run() != nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("redis does not come up")
		}
	}
	return socket, cmd
}

// patience is a timeout that a machine with much else to do keeps.
const patience = conf.Duration(30 * time.Second)

func open(t testing.TB, s Sharing, log *zap.Logger) *Counts {
	t.Helper()
	c, err := s.Open("test", log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestRedisCounter(t *testing.T) {
	socket, _ := startRedis(t)
	msatest.Counter(t, func(t testing.TB) counts.Counter {
		return open(t, Sharing{Redis: &Redis{Address: socket, Timeout: patience}}, zap.NewNop()).store
	})
}

// Keys of Redis expire when nothing is left of their count, and hold nothing of what a stranger chose.
func TestRedisKeys(t *testing.T) {
	socket, _ := startRedis(t)
	c := open(t, Sharing{Redis: &Redis{Address: socket, Timeout: patience}}, zap.NewNop())
	count := func(change counts.Change) {
		t.Helper()
		if _, err := c.Count(context.Background(), nil, change); err != nil {
			t.Fatal(err)
		}
	}
	count(counts.Change{Key: strings.Repeat("x\r\n", 1000), Add: 50_000})
	count(counts.Change{Key: "kept", Add: 1, Keep: 50 * time.Millisecond})
	count(counts.Change{Key: "looked at", Add: 1, Look: true})
	r := c.store.(*redisCounts).client
	keys := r.Keys(context.Background(), "*").Val()
	for _, k := range keys {
		if !strings.HasPrefix(k, "caddy-msa:test:") || len(k) > 50 {
			t.Errorf("key %q", k)
		}
	}
	for end := time.Now().Add(time.Minute); r.DBSize(context.Background()).Val() != 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("keys %q stay", r.Keys(context.Background(), "*").Val())
		}
	}
}

// Who has something to give back can do so after the configuration has closed its counts.
func TestHold(t *testing.T) {
	socket, _ := startRedis(t)
	c := open(t, Sharing{Redis: &Redis{Address: socket, Timeout: patience}}, zap.NewNop())
	count := func() error {
		_, err := c.Count(context.Background(), nil, counts.Change{Key: "k", Add: 1})
		return err
	}
	c.Hold()
	c.Hold()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	c.Release()
	if err := count(); err != nil {
		t.Error(err)
	}
	c.Release()
	if err := count(); err == nil {
		t.Error("counted, though nobody holds it any more")
	}
}

// stalling is a spool's counter that can hang.
type stalling struct {
	hangs atomic.Bool
	asked atomic.Int32
}

func (s *stalling) Count(ctx context.Context, changes ...counts.Change) ([]counts.Count, error) {
	s.asked.Add(1)
	if s.hangs.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return make([]counts.Count, len(changes)), nil
}

// A store that hangs is waited for no longer than the timeout, and left alone then for a while, which the log says once.
func TestHangs(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	spool := new(stalling)
	c := open(t, Sharing{Spool: &Spool{Timeout: conf.Duration(20 * time.Millisecond)}}, zap.New(core))
	now := time.Now()
	c.now = func() time.Time { return now }
	ask := func() error {
		_, err := c.Count(context.Background(), spool, counts.Change{Key: "k", Add: 1})
		return err
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	spool.hangs.Store(true)
	for range 5 {
		if err := ask(); err == nil {
			t.Error("counted")
		}
	}
	if n := spool.asked.Load(); n != 2 {
		t.Errorf("asked %d times", n)
	}
	now = now.Add(pause)
	if err := ask(); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	spool.hangs.Store(false)
	now = now.Add(pause)
	if err := ask(); err != nil {
		t.Error(err)
	}
	// A caller who gives up says nothing about the store.
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	spool.hangs.Store(true)
	_, _ = c.Count(gone, spool, counts.Change{Key: "k"})
	spool.hangs.Store(false)
	if err := ask(); err != nil {
		t.Error(err)
	}
	var lines []string
	for _, e := range logs.All() {
		lines = append(lines, e.Message)
	}
	if len(lines) != 2 || !strings.Contains(lines[0], "does not answer") || !strings.Contains(lines[1], "answers again") {
		t.Errorf("log %q", lines)
	}
	if _, err := c.Count(context.Background(), nil, counts.Change{Key: "k"}); err == nil {
		t.Error("counted in a spool that does not")
	}
}

// Once it is known that a store hangs, one caller at a time waits for it, however many come at the same moment. What was asked before and is
// answered late changes nothing, so that a store that answers some in time and others not is not two lines in the log for each.
func TestOneAsks(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	c := open(t, Sharing{Spool: &Spool{Timeout: patience}}, zap.New(core))
	now := time.Now()
	c.now = func() time.Time { return now }
	failed := errors.New("failed")
	spool := make(scripted)
	begin := func() (answer chan<- error, result <-chan error) {
		done := make(chan error, 1)
		go func() {
			_, err := c.Count(context.Background(), spool, counts.Change{Key: "k", Add: 1})
			done <- err
		}()
		select {
		case a := <-spool:
			return a, done
		case err := <-done:
			done <- err
			return nil, done
		}
	}
	early, late := begin()
	fails, result := begin()
	fails <- failed
	if err := <-result; !errors.Is(err, failed) {
		t.Error(err)
	}
	early <- nil
	if err := <-late; err != nil {
		t.Error(err)
	}
	if a, _ := begin(); a != nil {
		t.Error("asked again because of an answer to a question from before")
	}
	now = now.Add(pause)
	first, result := begin()
	for range 3 {
		if a, _ := begin(); a != nil {
			t.Error("several ask at once")
		}
	}
	first <- failed
	<-result
	if len(logs.All()) != 1 {
		t.Errorf("log %v", logs.All())
	}
	now = now.Add(pause)
	first, result = begin()
	first <- nil
	if err := <-result; err != nil || len(logs.All()) != 2 {
		t.Errorf("%v, log %v", err, logs.All())
	}
}

// scripted is a spool's counter that hands each question's answer to whoever takes it.
type scripted chan chan<- error

func (s scripted) Count(_ context.Context, changes ...counts.Change) ([]counts.Count, error) {
	answer := make(chan error)
	s <- answer
	return make([]counts.Count, len(changes)), <-answer
}

func TestSettings(t *testing.T) {
	for _, s := range []Sharing{
		{Redis: &Redis{}}, {Redis: &Redis{Address: "x:1", OnFailure: "panic"}}, {Redis: &Redis{Address: "x:1", Timeout: -1}},
		{Redis: &Redis{Address: "redis.example.org"}}, {Redis: &Redis{Address: "redis://x:1"}}, {Redis: &Redis{Address: "unix:/run/redis.sock"}},
		{Redis: &Redis{Address: "x:1"}, Spool: &Spool{}}, {Spool: &Spool{OnFailure: "panic"}}, {Spool: &Spool{Timeout: -1}},
	} {
		if _, err := s.Open("test", zap.NewNop()); err == nil {
			t.Errorf("%+v: no error", s)
		}
	}
	c, err := (&Sharing{}).Open("test", zap.NewNop())
	if c != nil || err != nil || c.Close() != nil {
		t.Error(c, err)
	}
}
