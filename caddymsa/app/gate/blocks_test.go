package gate

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

// Blocks that are in force can be seen, with the name that was guessed, and lifted: what was refused is forgotten with them.
func TestBlocks(t *testing.T) {
	g, now := testGuard()
	config := throttleOf(t, Throttle{NetworkFailures: 15})
	if blocks := g.Blocks(); len(blocks) != 0 {
		t.Error(blocks)
	}
	long := strings.Repeat("é", 100)
	for range 10 {
		g.refused(config, guesser, long)
	}
	*now = now.Add(time.Minute)
	for range 10 {
		g.refused(config, guesser, "bob")
	}
	blocks := g.Blocks()
	if len(blocks) != 3 || blocks[0].User != "" || blocks[0].ByUser || blocks[1].User != "bob" || blocks[2].User != strings.Repeat("é", 50)+"…" || blocks[0].Network.String() != "192.0.2.1/32" {
		t.Errorf("%+v", blocks)
	}
	if n := g.Lift(config, owner); n != 0 {
		t.Errorf("%d of somebody else", n)
	}
	q := g.question(config, guesser, "carol") // is under way meanwhile
	if n := g.Lift(config, guesser); n != 3 || len(g.Blocks()) != 0 {
		t.Errorf("%d lifted, left %v", n, g.Blocks())
	}
	if _, blocks := q.Refused(); blocks != "" {
		t.Errorf("the next refusal blocks the %s", blocks)
	}
	if g.blocked(config, guesser, "bob") {
		t.Error("still blocked")
	}
}

// A block that is lifted does not come back with the counts that nodes share.
func TestBlocksOfNodes(t *testing.T) {
	one, _, config, _, _ := twoNodes(t, Throttle{})
	for range 10 {
		one.tries(t, config, "alice")
	}
	if n := one.Lift(config, netip.MustParseAddr("192.0.2.1")); n != 1 {
		t.Errorf("%d lifted", n)
	}
	if _, blocks := one.tries(t, config, "alice"); blocks != "" {
		t.Error("blocked again at once:", blocks)
	}
}

// A block that is lifted on one node is lifted on those that have learnt of it, a moment later; other blocks stay there. The store is not
// asked for each client that is blocked.
func TestLiftedElsewhere(t *testing.T) {
	one, two, config, l, now := twoNodes(t, Throttle{NetworkFailures: 15})
	for _, user := range []string{"alice", "bob"} { // which is the network's block too
		for range 10 {
			one.question(config, guesser, user).Refused()
		}
	}
	for range 10 {
		one.question(config, owner, "carol").Refused()
	}
	blocked := func(g guardTest, ip netip.Addr, user string) bool { return g.blocked(config, ip, user) }
	if !blocked(two, guesser, "alice") || !blocked(two, guesser, "dave") || !blocked(two, owner, "carol") {
		t.Fatal("the other node has not learnt of the blocks")
	}
	*now = now.Add(time.Minute)
	if n := one.Lift(config, guesser); n != 3 {
		t.Errorf("%d lifted", n)
	}
	asked := l.Asked()
	if blocked(two, guesser, "alice") || two.Blocked(t.Context(), config, guesser) || blocked(two, guesser, "dave") {
		t.Error("still blocked on the other node")
	}
	if _, blocks := two.tries(t, config, "alice"); blocks != "" {
		t.Error("blocked again at once:", blocks)
	}
	for range 100 {
		if !blocked(two, owner, "carol") {
			t.Fatal("another block is lifted too")
		}
	}
	if n := l.Asked() - asked; n > 8 {
		t.Errorf("%d questions", n)
	}
	// While nobody answers, a block stays.
	one.Lift(config, owner)
	l.Hang(true)
	*now = now.Add(time.Minute)
	if !blocked(two, owner, "carol") {
		t.Error("lifted by nobody's word")
	}
}
