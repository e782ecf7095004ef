package queue

import (
	"errors"
	"testing"
	"time"
)

type laneStates map[string]LaneState

func (m laneStates) SetLane(name string, s LaneState) { m[name] = s }

// A clock that was ten years ahead and is set right does not keep a lane that was down, or had all that its rate lets pass,
// from being tried.
func TestClockSetBack(t *testing.T) {
	spool := make(laneStates)
	ls := &lanes{spool: spool, rand: func(int64) int64 { return 0 }, wake: func() {}, settings: Settings{Workers: 64, FirstProbe: 15 * time.Second, LastProbe: time.Minute}}
	ahead := time.Date(2036, 1, 1, 12, 0, 0, 0, time.UTC)
	right := ahead.AddDate(-10, 0, 0)
	ls.tick(ahead)
	v, err := ls.enter("down", Destination{Name: "down"}, ahead)
	if err != nil {
		t.Fatal(err)
	}
	ls.leave(v, reached{unreachable: Unreachable(errors.New("refused"))}, ahead)
	v, err = ls.enter("rated", Destination{Name: "rated", Rate: Rate{Messages: 1, Per: time.Hour}}, ahead)
	if err != nil {
		t.Fatal(err)
	}
	ls.leave(v, reached{success: true}, ahead)
	if spool["down"].Limit != 0 || spool["rated"].Limit != 0 {
		t.Fatalf("%+v", spool)
	}
	next := ls.tick(right)
	if spool["down"].Limit != 1 {
		t.Errorf("the lane that was down: %+v", spool["down"])
	}
	if next.IsZero() || next.After(right.Add(2*time.Hour)) {
		t.Errorf("the next lane is looked at at %v", next)
	}
	ls.tick(right.Add(90 * time.Minute))
	if spool["rated"].Limit != 1 {
		t.Errorf("the lane with a rate: %+v", spool["rated"])
	}
	// A step of seconds is none.
	before := ls.latest
	ls.tick(right.Add(89 * time.Minute).Add(59 * time.Second))
	if !ls.latest.Equal(before) {
		t.Error("a clock that was corrected by seconds was noticed")
	}
}
