package queue

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// A lane that asks to be left alone for a while is, for an hour at most, and never tried sooner than it would be anyway.
func TestUnreachableFor(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for asked, want := range map[time.Duration]time.Duration{0: 15 * time.Second, time.Second: 15 * time.Second, 10 * time.Minute: 10 * time.Minute, 48 * time.Hour: time.Hour} {
		ls := &lanes{spool: make(laneStates), rand: func(int64) int64 { return 0 }, wake: func() {}, settings: Settings{Workers: 64, FirstProbe: 15 * time.Second, LastProbe: time.Minute}}
		ls.tick(now)
		v, err := ls.enter("hook", Destination{Name: "hook"}, now)
		if err != nil {
			t.Fatal(err)
		}
		ls.leave(v, reached{unreachable: fmt.Errorf("wrapped: %w", UnreachableFor(errors.New("429"), asked))}, now)
		if got := ls.m["hook"].probe.Sub(now); got != want {
			t.Errorf("asked for %v: %v, want %v", asked, got, want)
		}
	}
	if UnreachableFor(nil, time.Hour) != nil || !IsUnreachable(UnreachableFor(errors.New("429"), time.Hour)) {
		t.Error("it is not marked")
	}
}
