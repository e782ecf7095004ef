package msatest

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/counts"
)

// Counter runs the conformance suite of counts that nodes share. Each call of node returns one more node's view of the same counts.
func Counter(t *testing.T, node func(t testing.TB) counts.Counter) {
	one, two := node(t), node(t)
	count := func(t testing.TB, c counts.Counter, changes ...counts.Change) []counts.Count {
		t.Helper()
		found, err := c.Count(background, changes...)
		if err != nil || len(found) != len(changes) {
			t.Fatalf("%+v: %+v, %v", changes, found, err)
		}
		return found
	}
	const day = 24 * time.Hour
	t.Run("Kept", func(t *testing.T) {
		for i, step := range []struct {
			change counts.Change
			want   counts.Count
		}{
			{counts.Change{Add: 3, Max: 5}, counts.Count{Level: 3}},
			{counts.Change{Add: 3, Max: 5}, counts.Count{Level: 3, Full: true}},
			{counts.Change{Add: 3, Max: 5, Look: true}, counts.Count{Level: 3, Full: true}},
			{counts.Change{Add: 2, Max: 5, Look: true}, counts.Count{Level: 3}},
			{counts.Change{Add: 2, Max: 5}, counts.Count{Level: 5}},
			{counts.Change{Add: -1}, counts.Count{Level: 4}},
			{counts.Change{}, counts.Count{Level: 4}},
			{counts.Change{Add: 100}, counts.Count{Level: 104}},
			{counts.Change{Add: -200}, counts.Count{}},
			{counts.Change{Add: -1}, counts.Count{}},
			{counts.Change{Add: 6, Max: 5}, counts.Count{Full: true}},
			{counts.Change{Add: 1, Max: 5}, counts.Count{Level: 1}},
			{counts.Change{Add: math.MinInt32}, counts.Count{}},
		} {
			step.change.Key, step.change.Keep = "kept", day
			if got := count(t, []counts.Counter{one, two}[i%2], step.change)[0]; got != step.want {
				t.Errorf("step %d, %+v: %+v, want %+v", i, step.change, got, step.want)
			}
		}
	})
	t.Run("Ends", func(t *testing.T) {
		count(t, one, counts.Change{Key: "ends", Add: 7, Keep: 50 * time.Millisecond})
		waitFor(t, "the count to end", func() bool {
			return count(t, two, counts.Change{Key: "ends", Keep: 50 * time.Millisecond})[0].Level == 0
		})
		if got := count(t, two, counts.Change{Key: "ends", Add: 1, Max: 1, Keep: day})[0]; got.Full || got.Level != 1 {
			t.Errorf("and then: %+v", got)
		}
	})
	t.Run("Passes", func(t *testing.T) {
		minute, second := time.Minute.Microseconds(), time.Second.Microseconds()
		first := count(t, one, counts.Change{Key: "passes", Add: minute, Max: minute})[0]
		if first.Full || first.Level > minute || first.Level < minute/2 {
			t.Errorf("the first: %+v", first)
		}
		next := count(t, two, counts.Change{Key: "passes", Add: minute, Max: minute})[0]
		if !next.Full || next.Level > first.Level || next.Level == 0 {
			t.Errorf("the next: %+v", next)
		}
		if got := count(t, two, counts.Change{Key: "passes", Add: -2 * minute})[0]; got.Level != 0 {
			t.Errorf("given back: %+v", got)
		}
		count(t, one, counts.Change{Key: "passes", Add: second / 5, Max: second})
		waitFor(t, "it to pass", func() bool { return count(t, two, counts.Change{Key: "passes"})[0].Level == 0 })
	})
	t.Run("Several", func(t *testing.T) {
		got := count(t, one, counts.Change{Key: "b", Add: 2, Keep: day}, counts.Change{Key: "a", Add: 1, Keep: day}, counts.Change{Key: "c", Add: 9, Max: 3, Keep: day},
			counts.Change{Key: "b", Add: 2, Max: 3, Keep: day})
		want := []counts.Count{{Level: 2}, {Level: 1}, {Full: true}, {Level: 2, Full: true}}
		if !slices.Equal(got, want) {
			t.Errorf("%+v, want %+v", got, want)
		}
	})
	t.Run("Exact", func(t *testing.T) { // no two nodes take the same place
		var taken atomic.Int32
		var group sync.WaitGroup
		for i := range 16 {
			group.Go(func() {
				for range 20 {
					keys := []string{"exact", fmt.Sprint("own", i)}
					if i%2 == 0 {
						slices.Reverse(keys)
					}
					found, err := []counts.Counter{one, two}[i/8].Count(background, counts.Change{Key: keys[0], Add: 1, Max: 100, Keep: day}, counts.Change{Key: keys[1], Add: 1, Max: 100, Keep: day})
					if err != nil {
						t.Error(err)
						return
					}
					if !found[slices.Index(keys, "exact")].Full {
						taken.Add(1)
					}
				}
			})
		}
		group.Wait()
		if n := taken.Load(); n != 100 {
			t.Errorf("%d of 100 places were taken", n)
		}
	})
}

func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited a minute for " + what)
		}
	}
}
