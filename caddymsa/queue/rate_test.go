package queue

import (
	"errors"
	"testing"
	"time"
)

// A reload lets nothing past a rate that stays as it is; another one counts at once.
func TestRateThroughReload(t *testing.T) {
	spool := make(laneStates)
	s := Settings{Workers: 64, FirstProbe: time.Second, LastProbe: time.Minute}
	ls := &lanes{spool: spool, rand: func(int64) int64 { return 0 }, wake: func() {}, settings: s}
	at := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	hourly := Destination{Name: "rated", Rate: Rate{Messages: 1, Per: time.Hour}}
	visit := func(d Destination) error {
		v, err := ls.enter("rated", d, at)
		if err == nil {
			ls.leave(v, reached{success: true}, at)
		}
		return err
	}
	if err := visit(hourly); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		at = at.Add(time.Second)
		ls.use(s, func(string) bool { return true }, at)
		if n := spool["rated"].Limit; n != 1 {
			t.Errorf("limit %d of a lane whose limits are not known any more", n)
		}
		if err := visit(hourly); !errors.Is(err, errBlocked) || spool["rated"].Limit != 0 {
			t.Errorf("visit: %v, and then %+v", err, spool["rated"])
		}
	}
	at = at.Add(time.Hour - 3*time.Second + time.Millisecond)
	ls.tick(at)
	if err := visit(hourly); err != nil {
		t.Errorf("after an hour: %v", err)
	}
	ls.use(s, func(string) bool { return true }, at)
	if err := visit(Destination{Name: "rated", Rate: Rate{Messages: 1, Per: time.Minute}}); err != nil {
		t.Errorf("with another rate: %v", err)
	}
}
