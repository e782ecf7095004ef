package spoolpostgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// recorded records what a group is given; each waits for a word to go on.
type recorded struct {
	group[string]
	proceed chan struct{}
	mu      sync.Mutex
	all     [][]string
}

func newRecorded() *recorded {
	g := &recorded{proceed: make(chan struct{})}
	g.octets = func(s string) int { return len(s) }
	g.key = func(s string) any {
		if s[0] == 'k' { // all of these are alike
			return s[0]
		}
		return nil
	}
	g.do = func(some []*joined[string]) {
		var what []string
		for _, m := range some {
			what = append(what, m.what)
			m.err = errors.New("did " + m.what)
		}
		g.mu.Lock()
		g.all = append(g.all, what)
		g.mu.Unlock()
		<-g.proceed
	}
	return g
}

// joinAll has callers come one after the other, and returns a channel for the answer of each.
func (g *recorded) joinAll(ctx context.Context, what ...string) (answers []chan error) {
	for _, w := range what {
		answer := make(chan error, 1)
		go func() { answer <- g.join(ctx, time.Now().Add(time.Minute), w) }()
		synctest.Wait()
		answers = append(answers, answer)
	}
	return answers
}

func (g *recorded) expect(t *testing.T, want ...[]string) {
	t.Helper()
	synctest.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	if !slices.EqualFunc(g.all, want, slices.Equal) {
		t.Errorf("groups %q, wanted %q", g.all, want)
	}
}

func (g *recorded) expectNone(t *testing.T) {
	t.Helper()
	synctest.Wait()
	g.group.mu.Lock()
	defer g.group.mu.Unlock()
	if g.running != 0 || len(g.waiting) != 0 {
		t.Errorf("%d run, %d wait", g.running, len(g.waiting))
	}
}

// Who comes first goes at once; who comes meanwhile goes with the next group, unless that has one of the kind already, or is full.
func TestGroup(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRecorded()
		large := string(make([]byte, groupOctets)) // goes with nobody
		answers := g.joinAll(context.Background(), "a", "b", "k1", "k2", "c", large, "k3")
		g.expect(t, []string{"a"})
		g.proceed <- struct{}{}
		g.expect(t, []string{"a"}, []string{"b", "k1", "c"})
		g.proceed <- struct{}{}
		g.expect(t, []string{"a"}, []string{"b", "k1", "c"}, []string{"k2"})
		g.proceed <- struct{}{}
		g.proceed <- struct{}{}
		g.expect(t, []string{"a"}, []string{"b", "k1", "c"}, []string{"k2"}, []string{large}, []string{"k3"})
		g.proceed <- struct{}{}
		for i, what := range []string{"a", "b", "k1", "k2", "c", large, "k3"} {
			if err := <-answers[i]; err.Error() != "did "+what {
				t.Errorf("%.10s heard %.20s", what, err)
			}
		}
		g.expectNone(t)
	})
}

// A group that takes long does not keep others waiting; so many go beside each other and no more.
func TestGroupSlow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRecorded()
		var want [][]string
		for i := range groupsOnce {
			what := fmt.Sprint("q", i)
			g.joinAll(context.Background(), what)
			if i > 0 {
				g.expect(t, want...)
				time.Sleep(groupSlow)
			}
			want = append(want, []string{what})
			g.expect(t, want...)
		}
		ctx, cancel := context.WithCancel(context.Background())
		gone := g.joinAll(ctx, "gone")[0]
		last := g.joinAll(context.Background(), "last")[0]
		time.Sleep(10 * groupSlow)
		g.expect(t, want...)
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		for range want {
			g.proceed <- struct{}{}
		}
		g.expect(t, append(want, []string{"last"})...)
		close(g.proceed)
		if err := <-last; err.Error() != "did last" {
			t.Error(err)
		}
		g.expectNone(t)
	})
}

// A caller who gives up hears what became of its part all the same, if that is under way.
func TestGroupGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRecorded()
		ctx, cancel := context.WithCancel(context.Background())
		answer := g.joinAll(ctx, "a")[0]
		cancel()
		synctest.Wait()
		select {
		case err := <-answer:
			t.Error("an answer before there is one:", err)
		default:
		}
		g.proceed <- struct{}{}
		if err := <-answer; err.Error() != "did a" {
			t.Error(err)
		}
	})
}
