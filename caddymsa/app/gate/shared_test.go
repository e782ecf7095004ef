package gate

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/sharing"
)

// twoNodes are two guards, of two processes, that share counts.
func twoNodes(t *testing.T, throttle Throttle) (one, two guardTest, config *Throttle, l *msatest.MemCounter, now *time.Time) {
	one, now = testGuard()
	two, _ = testGuard()
	two.clock = one.clock
	l = &msatest.MemCounter{Now: one.clock}
	throttle.Spool = &sharing.Spool{}
	config = throttleOf(t, throttle)
	config.CountIn(l)
	return one, two, config, l, now
}

// tries claims and is refused.
func (g guardTest) tries(t *testing.T, config *Throttle, user string) (delay time.Duration, blocks string) {
	t.Helper()
	c, err := g.Claim(context.Background(), config, guesser, user)
	if err != nil {
		t.Fatal(err)
	}
	return c.Refused()
}

// Guesses on one node count on the others, as does a block; and however many come who are blocked, few questions are asked.
func TestSharedRefusals(t *testing.T) {
	one, two, config, l, now := twoNodes(t, Throttle{})
	var last time.Duration
	for i := 1; i <= 10; i++ {
		delay, blocks := []guardTest{one, two}[i%2].tries(t, config, "alice")
		if (blocks == "user") != (i == 10) || i > 4 && delay <= last {
			t.Errorf("refusal %d: delay %v, blocks %q", i, delay, blocks)
		}
		last = delay
		*now = now.Add(time.Millisecond)
	}
	for _, g := range []guardTest{one, two} {
		if !g.blocked(config, guesser, "alice") {
			t.Error("not blocked everywhere")
		}
		if g.blocked(config, guesser, "bob") || g.blocked(config, owner, "alice") {
			t.Error("somebody else is blocked too")
		}
	}
	asked := l.Asked()
	for range 100 {
		if !two.blocked(config, guesser, "alice") {
			t.Fatal("not blocked any more")
		}
	}
	if n := l.Asked() - asked; n > 1 { // whether any block has been lifted
		t.Errorf("%d questions about who is blocked", n)
	}
	*now = now.Add(time.Duration(config.Block))
	if one.blocked(config, guesser, "alice") || two.blocked(config, guesser, "alice") {
		t.Error("blocked for longer than it lasts")
	}
}

// All names of a network count together on all nodes, and a right password forgets a user's mistakes on all of them.
func TestSharedNetworkAndMistakes(t *testing.T) {
	one, two, config, _, now := twoNodes(t, Throttle{NetworkFailures: 20})
	for i := range 18 {
		if _, blocks := []guardTest{one, two}[i%2].tries(t, config, string(rune('a'+i))); blocks != "" {
			t.Errorf("guess %d blocks %q", i, blocks)
		}
	}
	for range 2 {
		for range 7 {
			one.mistakes(t, config)
		}
		c, err := two.Claim(context.Background(), config, owner, "alice")
		if err != nil {
			t.Fatal(err)
		}
		c.Accepted()
		*now = now.Add(time.Second)
	}
	one.tries(t, config, "y")
	if _, blocks := two.tries(t, config, "z"); blocks != "network" {
		t.Errorf("the 20th guess of a network blocks %q", blocks)
	}
	if !one.blocked(config, guesser, "nobody yet") {
		t.Error("the network is not blocked everywhere")
	}
}

// mistakes makes one of the owner.
func (g guardTest) mistakes(t *testing.T, config *Throttle) {
	t.Helper()
	c, err := g.Claim(context.Background(), config, owner, "alice")
	if err != nil {
		t.Fatal(err)
	}
	if _, blocks := c.Refused(); blocks != "" {
		t.Errorf("the owner's mistake blocks %q", blocks)
	}
}

// While nobody answers, each node counts for itself, without delay.
func TestSharedHangs(t *testing.T) {
	one, two, config, l, _ := twoNodes(t, Throttle{Sharing: sharing.Sharing{}})
	l.Hang(true)
	began := time.Now()
	for range 10 {
		one.tries(t, config, "alice")
	}
	if !one.blocked(config, guesser, "alice") || two.blocked(config, guesser, "alice") {
		t.Error("nodes do not count for themselves")
	}
	if l.Asked() > 1+int(time.Since(began)/time.Second) {
		t.Errorf("asked %d times in %v", l.Asked(), time.Since(began))
	}
}

// What cannot be meant is refused; where the spool has no counts after all, each node counts for itself.
func TestSharedSettings(t *testing.T) {
	for _, throttle := range []Throttle{
		{Off: true, Sharing: sharing.Sharing{Spool: &sharing.Spool{}}},
		{Sharing: sharing.Sharing{Spool: &sharing.Spool{OnFailure: "tempfail"}}},
		{Sharing: sharing.Sharing{Redis: &sharing.Redis{}}},
	} {
		if err := throttle.Provision("test", zap.NewNop()); err == nil {
			t.Errorf("%+v: no error", throttle)
		}
	}
	none := throttleOf(t, Throttle{Sharing: sharing.Sharing{Spool: &sharing.Spool{}}})
	g, _ := testGuard() // the spool has no counts
	for range 10 {
		g.tries(t, none, "alice")
	}
	if _, err := g.Claim(context.Background(), none, guesser, "alice"); !errors.Is(err, ErrThrottled) {
		t.Error(err)
	}
}
