package app

import (
	"cmp"
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/zap"
	logged "go.uber.org/zap/zaptest/observer"
)

// A generation waits for the calls under way, and takes no new ones meanwhile.
func TestGenerationWaits(t *testing.T) {
	g := newGeneration()
	ctx, leave, ok := g.enter(context.Background())
	if !ok {
		t.Fatal("a new generation takes no calls")
	}
	closed := make(chan struct{})
	go func() {
		g.close(t.Context(), zap.NewNop())
		close(closed)
	}()
	for {
		if _, leave, ok := g.enter(context.Background()); !ok {
			break
		} else {
			leave()
		}
	}
	select {
	case <-closed:
		t.Fatal("it closed with a call under way")
	default:
	}
	if ctx.Err() != nil {
		t.Error("the call was cancelled within the grace period")
	}
	leave()
	<-closed
}

// When the grace period is over, calls are cancelled and may leave.
func TestGenerationCancels(t *testing.T) {
	g := newGeneration()
	ctx, leave, _ := g.enter(context.Background())
	core, logs := logged.New(zap.ErrorLevel)
	closed := make(chan struct{})
	go func() {
		g.close(over(), zap.New(core))
		close(closed)
	}()
	<-ctx.Done()
	leave()
	<-closed
	g.close(over(), zap.New(core)) // again, as Cleanup does after Stop
	if logs.Len() != 0 {
		t.Error(logs.All())
	}
}

// A call that does not heed its context is left behind, and the log says whose it is: Caddy holds the lock
// of its configuration meanwhile.
func TestGenerationLeavesBehind(t *testing.T) {
	g := newGeneration()
	call, leave, _ := g.enter(context.Background())
	calling(call, "policy slow", "check")
	_, _, _ = g.enter(context.Background())
	core, logs := logged.New(zap.ErrorLevel)
	g.close(over(), zap.New(core)) // returns
	g.close(over(), zap.New(core)) // at once
	if logs.Len() != 2 || logs.FilterField(zap.String("module", "policy slow")).FilterField(zap.String("call", "check")).Len() != 1 {
		t.Error(logs.All())
	}
	leave()
}

// A call's context ends with the call, its parent or its generation, whether somebody has waited for that or asks afterwards.
func TestCallEnds(t *testing.T) {
	for what, end := range map[string]func(g *generation, leave, parent func()){
		"call":       func(_ *generation, leave, _ func()) { leave() },
		"parent":     func(_ *generation, _, parent func()) { parent() },
		"generation": func(g *generation, _, _ func()) { g.cancel() },
	} {
		for _, awaited := range []bool{false, true} {
			g := newGeneration()
			parent, cancel := context.WithCancel(context.WithValue(t.Context(), callKey{}, "another's"))
			ctx, leave, _ := g.enter(parent)
			if awaited {
				ctx.Done()
			}
			before, stop := context.WithCancel(ctx)
			if err := cmp.Or(ctx.Err(), before.Err()); err != nil {
				t.Errorf("%s: %v before the end", what, err)
			}
			if awaited {
				stop() // of what is made of it the rest follows it
				before, stop = context.WithCancel(ctx)
			}
			end(g, leave, cancel)
			after, stopAfter := context.WithTimeout(ctx, time.Hour)
			for _, c := range []context.Context{before, after, ctx} {
				<-c.Done()
				if !errors.Is(c.Err(), context.Canceled) {
					t.Errorf("%s: %v", what, c.Err())
				}
			}
			if ctx.Value(callKey{}) != ctx.(*call) {
				t.Errorf("%s: it is not found in its own context", what)
			}
			leave()
			stop()
			stopAfter()
			cancel()
		}
	}
	g := newGeneration()
	parent, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	ctx, leave, _ := g.enter(parent)
	leave()
	if _, limited := ctx.Deadline(); !errors.Is(ctx.Err(), context.DeadlineExceeded) || !limited {
		t.Errorf("%v of a parent whose time was over", ctx.Err())
	}
}

// over is a context that has ended.
func over() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func TestStack(t *testing.T) {
	var s stack[*int]
	if s.top() != nil {
		t.Error("an empty stack has a top")
	}
	old, newer := new(int), new(int)
	s.push(old)
	s.push(newer)
	if s.top() != newer || s.remove(newer) != 1 || s.top() != old {
		t.Error("a failed reload does not give the old one back")
	}
	s.push(newer)
	if s.remove(old) != 1 || s.top() != newer {
		t.Error("the old one's end takes the new one away")
	}
}

// What a call into a configuration's modules costs: there are several a message.
func BenchmarkGenerationEnter(b *testing.B) {
	g := newGeneration()
	parent, cancel := context.WithCancel(context.Background())
	defer cancel()
	b.ReportAllocs()
	for b.Loop() {
		ctx, leave, _ := g.enter(parent)
		calling(ctx, "policy size", "check")
		leave()
	}
}
