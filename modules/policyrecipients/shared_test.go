package policyrecipients

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/sharing"
)

// node is a policy of one of several nodes, in its own process as it were. It submits to so many recipients and returns how many were taken.
func node(t *testing.T, counter *msatest.MemCounter, onFailure string) (submit func(n int, accepted bool) (taken int, err error)) {
	p := open(t, &Recipients{MaxPerDay: "10", Name: t.Name(), Sharing: sharing.Sharing{Spool: &sharing.Spool{OnFailure: onFailure, Timeout: conf.Duration(20 * time.Millisecond)}}})
	p.days = new(days)
	return func(n int, accepted bool) (taken int, err error) {
		s := msatest.NewSubmission("alice", "")
		s.Counter = counter
		for range n {
			r := queue.Recipient{Address: "bob@example.net"}
			if err = p.CheckRecipient(context.Background(), s, &r); err == nil {
				taken++
				s.Entry.Recipients = append(s.Entry.Recipients, r)
			}
		}
		s.End(accepted)
		return taken, err
	}
}

// A day is one for all nodes; what did not become a recipient of an accepted message is given back there.
func TestSharedDay(t *testing.T) {
	counter := new(msatest.MemCounter)
	one, two := node(t, counter, ""), node(t, counter, "")
	if n, _ := one(9, false); n != 9 {
		t.Error(n)
	}
	if n, _ := one(4, true); n != 4 {
		t.Error(n)
	}
	n, err := two(9, true)
	if r, ok := err.(*caddymsa.Refusal); n != 6 || !ok || r.Rule != "max_per_day" {
		t.Errorf("%d of the other node's were taken, and then: %v", n, err)
	}
	// Without an answer each goes on from what it knows: the day is not begun anew.
	counter.Hang(true)
	if n, _ := two(9, true); n != 0 {
		t.Errorf("%d more were taken by the node that had heard of all", n)
	}
	if n, _ := one(9, true); n != 6 {
		t.Errorf("%d more were taken by the one that had heard of four", n)
	}
}

func TestSharedHangs(t *testing.T) {
	for onFailure, want := range map[string]int{sharing.FailLocal: 10, sharing.FailTempfail: 0, sharing.FailAccept: 20} {
		counter := new(msatest.MemCounter)
		counter.Hang(true)
		if n, _ := node(t, counter, onFailure)(20, true); n != want {
			t.Errorf("%s: %d were taken, want %d", onFailure, n, want)
		}
	}
}

// What a message has counted when its configuration ends is given back where nodes share it, since the next one counts it again.
func TestSharedReload(t *testing.T) {
	counter := new(msatest.MemCounter)
	config := func() *Recipients {
		return &Recipients{MaxPerDay: "1", Name: t.Name(), Sharing: sharing.Sharing{Spool: &sharing.Spool{Timeout: conf.Duration(time.Hour)}}}
	}
	before, r := open(t, config()), queue.Recipient{Address: "bob@example.net"}
	s := msatest.NewSubmission("alice", "")
	s.Counter = counter
	if err := before.CheckRecipient(context.Background(), s, &r); err != nil {
		t.Fatal(err)
	}
	after := open(t, config())
	_ = before.Cleanup()
	before.days = nil
	s.End(false)
	s.Forget()
	if err := after.CheckRecipient(context.Background(), s, &r); err != nil {
		t.Error(err)
	}
}

// A recipient that nobody waits for any more is not taken uncounted, since nobody has failed to answer.
func TestSharedGivenUp(t *testing.T) {
	counter := new(msatest.MemCounter)
	counter.Hang(true)
	p := open(t, &Recipients{MaxPerDay: "10", Name: t.Name(), Sharing: sharing.Sharing{Spool: &sharing.Spool{OnFailure: sharing.FailAccept, Timeout: conf.Duration(time.Hour)}}})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s := msatest.NewSubmission("alice", "")
	s.Counter = counter
	if err := p.CheckRecipient(ctx, s, &queue.Recipient{Address: "bob@example.net"}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A message that lasts beyond midnight does not have the counts of the new day begin anew.
func TestMidnightInMidMessage(t *testing.T) {
	p := open(t, &Recipients{MaxPerDay: "1", Name: t.Name()})
	now := time.Date(2026, 11, 23, 23, 59, 0, 0, time.UTC)
	p.now = func() time.Time { return now }
	check := func(s *caddymsa.Submission) error {
		return p.CheckRecipient(context.Background(), s, &queue.Recipient{Address: "bob@example.net"})
	}
	late := msatest.NewSubmission("bob", "")
	if err := check(late); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Hour)
	s := msatest.NewSubmission("alice", "")
	if err := check(s); err != nil {
		t.Fatal(err)
	}
	s.Entry.Recipients = []queue.Recipient{{Address: "bob@example.net"}}
	s.End(true)
	if err := check(late); err == nil {
		t.Error("the day on which it began has no limit any more")
	}
	if err := check(msatest.NewSubmission("alice", "")); err == nil {
		t.Error("today's count is gone")
	}
}
