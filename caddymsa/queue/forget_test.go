package queue

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// Lanes that are down, as those of domains that there are not, are forgotten when nothing has gone there for long enough,
// and not before.
func TestForgetDown(t *testing.T) {
	spool := make(laneStates)
	ls := &lanes{spool: spool, rand: func(int64) int64 { return 0 }, wake: func() {}, settings: Settings{Workers: 64, FirstProbe: time.Second, LastProbe: 2 * time.Hour}}
	at := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	visit := func(name string, r reached) {
		v, err := ls.enter(name, Destination{}, at)
		if err != nil {
			t.Fatal(err)
		}
		ls.leave(v, r, at)
	}
	settle := func() {
		for range 1000 { // each looks at a few
			visit("good", reached{success: true})
		}
	}
	for i := range 20 {
		visit(fmt.Sprint("typo", i), reached{unreachable: errors.New("no such host")})
	}
	at = at.Add(50 * time.Minute)
	settle()
	if len(ls.m) != 21 {
		t.Errorf("%d lanes are known while messages may wait there", len(ls.m))
	}
	at = at.Add(11 * time.Minute)
	ls.m["typo0"].probe = at.Add(-time.Minute)
	settle()
	if len(ls.m) != 2 || ls.m["typo0"] == nil || spool["typo1"] != NewLane {
		t.Errorf("%d lanes are known after an hour", len(ls.m))
	}
}
