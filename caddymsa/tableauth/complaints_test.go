package tableauth

import (
	"fmt"
	"testing"
	"time"
)

// A line an hour about the same, and no more than so many in all.
func TestComplaints(t *testing.T) {
	now := time.Unix(1e9, 0)
	c := Complaints{Now: func() time.Time { return now }}
	for _, want := range []int{maxComplaints, 0, maxComplaints} {
		n := 0
		for i := range 2 * maxComplaints {
			for range 2 {
				if c.Due(fmt.Sprint("user", i)) {
					n++
				}
			}
		}
		if n != want {
			t.Errorf("%d lines, not %d", n, want)
		}
		now = now.Add(31 * time.Minute)
	}
}
