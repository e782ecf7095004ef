package spoolpostgres

import (
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// Seven turns of eight are the highest priority's, and all of the others get some, however much is due above them.
func TestLowTurns(t *testing.T) {
	var turns turns
	turns.init()
	got, key := make(map[int16]int), int64(0)
	for range 80 / batch * lowTurn {
		var due []claim
		for _, rank := range []int16{-3, 0, 5} {
			for range batch {
				key++
				due = append(due, claim{key: key, user: "alice", rank: rank, due: key})
			}
		}
		for _, c := range turns.choose(nil, due, time.Unix(0, 0), queue.Want{}) {
			got[c.rank]++
		}
	}
	if all := got[-3] + got[0] + got[5]; got[-3] != all/lowTurn*(lowTurn-1) || got[0] != all/lowTurn/2 || got[5] != all/lowTurn/2 {
		t.Errorf("turns by rank: %v", got)
	}
}
