package policyrate

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/sharing"
)

// node is a policy of one of several nodes, in its own process as it were.
func node(t *testing.T, counter *msatest.MemCounter, onFailure string) (try func(accepted bool) error) {
	p, _ := open(t, &RateLimit{Messages: "5", Window: conf.Duration(time.Hour), Name: t.Name(), Sharing: sharing.Sharing{Spool: &sharing.Spool{OnFailure: onFailure, Timeout: conf.Duration(20 * time.Millisecond)}}})
	p.local = newTable()
	return func(accepted bool) error {
		s := msatest.NewSubmission("alice", "")
		s.Counter = counter
		err := p.CheckSender(context.Background(), s)
		s.End(accepted && err == nil)
		return err
	}
}

// Nodes take from one bucket, and what is refused goes back there.
func TestSharedBucket(t *testing.T) {
	counter := new(msatest.MemCounter)
	one, two := node(t, counter, ""), node(t, counter, "")
	for range 20 {
		if err := one(false); err != nil {
			t.Fatal("what was given back is gone:", err)
		}
	}
	for i := range 5 {
		if err := []func(bool) error{one, two}[i%2](true); err != nil {
			t.Fatal(i, err)
		}
	}
	for _, try := range []func(bool) error{one, two} {
		if r, ok := try(true).(*caddymsa.Refusal); !ok || r.Code != 450 || r.Rule != messages {
			t.Errorf("the sixth: %v", r)
		}
	}
}

// What a message has taken when its configuration ends is given back where nodes share it, since the next one counts it again.
func TestSharedReload(t *testing.T) {
	counter := new(msatest.MemCounter)
	config := func() *RateLimit {
		return &RateLimit{Messages: "1", Window: conf.Duration(time.Hour), Name: t.Name(), Sharing: sharing.Sharing{Spool: &sharing.Spool{Timeout: conf.Duration(time.Hour)}}}
	}
	before, _ := open(t, config())
	s := msatest.NewSubmission("alice", "")
	s.Counter = counter
	if err := before.CheckSender(context.Background(), s); err != nil {
		t.Fatal(err)
	}
	after, _ := open(t, config())
	_ = before.Cleanup()
	before.local = nil
	s.End(false)
	s.Forget()
	if err := after.CheckSender(context.Background(), s); err != nil {
		t.Error(err)
	}
}

// A submission that nobody waits for any more has no limit lifted, since nobody has failed to answer.
func TestSharedGivenUp(t *testing.T) {
	counter := new(msatest.MemCounter)
	counter.Hang(true)
	p, _ := open(t, &RateLimit{Messages: "5", Window: conf.Duration(time.Hour), Sharing: sharing.Sharing{Spool: &sharing.Spool{OnFailure: sharing.FailAccept, Timeout: conf.Duration(time.Hour)}}})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s := msatest.NewSubmission("alice", "")
	s.Counter = counter
	if err := p.CheckSender(ctx, s); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// When nobody answers it is as the operator wants: this node's own bucket, come again, or no limit.
func TestSharedHangs(t *testing.T) {
	for onFailure, want := range map[string]int{sharing.FailLocal: 5, sharing.FailTempfail: 0, sharing.FailAccept: 20} {
		t.Run(onFailure, func(t *testing.T) {
			counter := new(msatest.MemCounter)
			counter.Hang(true)
			try := node(t, counter, onFailure)
			n, began := 0, time.Now()
			for range 20 {
				err := try(true)
				if err == nil {
					n++
				}
				if _, refused := err.(*caddymsa.Refusal); refused && onFailure == sharing.FailTempfail {
					t.Errorf("refused by a limit that nobody knows: %v", err)
				}
			}
			if n != want {
				t.Errorf("%d were let through, want %d", n, want)
			}
			if asked, most := counter.Asked(), 3+int(time.Since(began)/time.Second); asked > most { // it is asked again each second
				t.Errorf("asked %d times", asked)
			}
		})
	}
}
