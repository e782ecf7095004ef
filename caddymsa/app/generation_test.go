package app

import (
	"context"
	"testing"
	"time"
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
		g.close(time.Hour)
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

// When the grace period is over, calls are cancelled, and it still waits for them to leave.
func TestGenerationCancels(t *testing.T) {
	g := newGeneration()
	ctx, leave, _ := g.enter(context.Background())
	closed := make(chan struct{})
	go func() {
		g.close(0)
		close(closed)
	}()
	<-ctx.Done()
	leave()
	<-closed
	g.close(0) // again, as Cleanup does after Stop
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
