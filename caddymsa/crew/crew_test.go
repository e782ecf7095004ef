package crew

import (
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

func TestCrew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		over := make(chan struct{})
		c := New(over)
		// However many are at work, none waits for another.
		var all, done sync.WaitGroup
		all.Add(100)
		for range 100 {
			done.Add(1)
			c.Go(func() {
				defer done.Done()
				all.Done()
				all.Wait()
			})
		}
		done.Wait()
		synctest.Wait()
		if n := members(); n != kept {
			t.Errorf("%d goroutines are kept", n)
		}
		// The next piece of work begins no goroutine.
		for range 1000 {
			done.Add(1)
			c.Go(func() {
				defer done.Done()
				if n := c.idle.Load(); n != kept-1 {
					t.Errorf("%d goroutines are idle", n)
				}
			})
			done.Wait()
			synctest.Wait()
		}
		close(over)
		synctest.Wait()
		if n := members(); n != 0 {
			t.Errorf("%d goroutines are left", n)
		}
		done.Add(1)
		c.Go(done.Done)
		done.Wait()
	})
}

// members counts the goroutines of crews. The process has others, of which some are about to end.
func members() int {
	stacks := make([]byte, 1<<20)
	return strings.Count(string(stacks[:runtime.Stack(stacks, true)]), "crew.(*Crew).run(")
}

// What is done deep in the stack costs less in a goroutine that has been there.
func BenchmarkCrew(b *testing.B) {
	var done sync.WaitGroup
	one := func() { deep(64); done.Done() }
	b.Run("kept", func(b *testing.B) {
		over := make(chan struct{})
		defer close(over)
		c := New(over)
		for b.Loop() {
			done.Add(1)
			c.Go(one)
			done.Wait()
		}
	})
	b.Run("new", func(b *testing.B) {
		for b.Loop() {
			done.Add(1)
			go one()
			done.Wait()
		}
	})
}

//go:noinline
func deep(n int) (sum byte) {
	var frame [256]byte
	frame[n] = byte(n)
	if n > 0 {
		sum = deep(n - 1)
	}
	return sum + frame[n]
}
