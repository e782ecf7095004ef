package spoolfile

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// The index finds what a map does, whatever is added and taken away.
func TestIndex(t *testing.T) {
	x, want := newIndex(), make(map[string]*entry)
	rnd := rand.New(rand.NewPCG(1, 2))
	for step := range 200_000 {
		id := fmt.Sprintf("Q%d", rnd.IntN(20_000))
		if e := x.get(id); e != want[id] {
			t.Fatalf("step %d, %s: %p, wanted %p", step, id, e, want[id])
		}
		switch e := want[id]; {
		case e == nil && (step < 100_000 || rnd.IntN(4) == 0):
			e = &entry{id: id}
			want[id] = e
			x.put(e)
		case e != nil:
			delete(want, id)
			x.remove(e)
		}
		if x.n != len(want) {
			t.Fatalf("step %d: %d, wanted %d", step, x.n, len(want))
		}
	}
	n := 0
	for e := range x.all() {
		if want[e.id] != e {
			t.Errorf("%s is not to be there", e.id)
		}
		n++
	}
	if n != len(want) {
		t.Errorf("%d of %d", n, len(want))
	}
	for _, e := range want {
		x.remove(e)
	}
	for e := range x.all() {
		t.Errorf("%s is left", e.id)
	}
}
