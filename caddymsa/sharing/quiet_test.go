//go:build linux

package sharing

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/counts"
)

// TestRefusedByRedis is the process that TestQuiet looks at.
func TestRefusedByRedis(t *testing.T) {
	if os.Getenv("MSA_TEST_REDIS") == "" {
		t.Skip("TestQuiet runs it")
	}
	c := open(t, Sharing{Redis: &Redis{Address: os.Getenv("MSA_TEST_REDIS"), Timeout: patience}}, zap.NewNop())
	_, err := c.Count(context.Background(), nil, counts.Change{Key: "k", Add: 1})
	t.Log(err)
}

// A Redis that is not there is asked once, and what there is to say of it is said once, in the log: nothing goes to stderr beside that.
func TestQuiet(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestRefusedByRedis$", "-test.v")
	cmd.Env = append(os.Environ(), "MSA_TEST_REDIS=/nowhere/redis.sock")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil || !strings.Contains(stdout.String(), "no such file") || stderr.Len() > 0 {
		t.Errorf("%v\n%s\nstderr: %s", err, &stdout, &stderr)
	}
	c := open(t, Sharing{Redis: &Redis{Address: "/nowhere/redis.sock"}}, zap.NewNop())
	if n := c.store.(*redisCounts).client.Options().DialerRetries; n != 1 {
		t.Errorf("tried %d times", n)
	}
}
