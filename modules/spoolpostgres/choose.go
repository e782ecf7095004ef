package spoolpostgres

import (
	"cmp"
	"context"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// claim is a job that may be handed out.
type claim struct {
	key           int64
	number        int32
	token         int64
	lane, user    string
	rank          int16 // the priority, the highest first
	due, deadline int64
	tried         bool   // before: it is due later than it was accepted
	lease         *lease // if it was handed out ahead
	handed        bool
}

// choose gives turns: to the highest priority, or now and then to one of the others, there to the user who has waited
// longest in the lane, and of that user to what is due first.
func (t *turns) choose(s *Store, due []claim, now time.Time, want queue.Want) (chosen []claim) {
	room := make(map[string]int)
	seen := make(map[[2]int64]bool)
	due = slices.DeleteFunc(due, func(c claim) bool {
		k := [2]int64{c.key, int64(c.number)}
		if seen[k] {
			return true
		}
		seen[k] = true
		if _, ok := room[c.lane]; !ok {
			room[c.lane] = t.room(s, c.lane, want)
		}
		return false
	})
	due = t.probes(due)
	if len(t.served) > maxServed {
		clear(t.served)
	}
	fits := func(c *claim) bool { return c.deadline <= nanos(now) || room[c.lane] > 0 }
	for len(chosen) < batch {
		lower, only := int16(0), false
		if (t.count+1)%lowTurn == 0 {
			lower, only = t.lower(due, fits)
		}
		best := -1
		for i := range due {
			if c := &due[i]; fits(c) && (!only || c.rank == lower) && (best < 0 || t.before(c, &due[best])) {
				best = i
			}
		}
		if best < 0 {
			break
		}
		t.count++
		c := due[best]
		due = slices.Delete(due, best, best+1)
		t.served[turn{c.user, c.lane}] = t.count
		if room[c.lane] > 0 && room[c.lane] < math.MaxInt {
			room[c.lane]--
		}
		chosen = append(chosen, c)
	}
	return chosen
}

// probes leaves of what is due in lanes that are probed the one job whose turn it is: what was tried longest ago, by
// whatever node. Its rank is the highest of theirs.
func (t *turns) probes(due []claim) []claim {
	first := make(map[string]claim)
	rest := slices.DeleteFunc(due, func(c claim) bool {
		if !t.lane(c.lane).Probe {
			return false
		}
		best, found := first[c.lane]
		if !found {
			best = c
		}
		rank := min(best.rank, c.rank)
		if best.tried && (!c.tried || c.due < best.due) || !best.tried && !c.tried && c.due < best.due {
			best = c
		}
		best.rank = rank
		first[c.lane] = best
		return true
	})
	return slices.AppendSeq(rest, maps.Values(first))
}

// lower is the priority below the highest whose turn it is: those that have something due take turns. It is false if there is
// none.
func (t *turns) lower(due []claim, fits func(*claim) bool) (rank int16, ok bool) {
	var ranks []int16
	for i := range due {
		if c := &due[i]; fits(c) && !slices.Contains(ranks, c.rank) {
			ranks = append(ranks, c.rank)
		}
	}
	if len(ranks) < 2 {
		return 0, false
	}
	slices.Sort(ranks)
	ranks = ranks[1:]
	next := slices.IndexFunc(ranks, func(r int16) bool { return r > t.low })
	t.low = ranks[max(0, next)]
	return t.low, true
}

func (t *turns) before(a, b *claim) bool {
	return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(t.served[turn{a.user, a.lane}], t.served[turn{b.user, b.lane}]),
		cmp.Compare(a.due, b.due), cmp.Compare(a.key, b.key), cmp.Compare(a.number, b.number)) < 0
}

// claim makes jobs this node's, those that no other node was faster to claim.
func (t *turns) claim(ctx context.Context, s *Store, chosen []claim) error {
	if len(chosen) == 0 {
		return nil
	}
	keys, tokens := make([]int64, len(chosen)), make([]int64, len(chosen))
	numbers := make([]int32, len(chosen))
	for i, c := range chosen {
		keys[i], numbers[i], tokens[i] = c.key, c.number, c.token
	}
	// A change of the job has changed its token. The lock, which lasts while a standby is waited for, is one beside which leases are renewed.
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	owner := s.owner.Load()
	rows, err := s.pool.Query(ctx, `WITH me AS (SELECT id FROM msa_node WHERE id = $1 FOR KEY SHARE), pick AS (
		SELECT d.key, d.number, w.n FROM msa_due d JOIN unnest($2::bigint[], $3::int[], $4::bigint[]) WITH ORDINALITY AS w(key, number, token, n) ON d.key = w.key AND d.number = w.number AND d.token = w.token, me
		WHERE d.owner IS NULL AND NOT d.held FOR UPDATE OF d SKIP LOCKED),
		h AS (UPDATE msa_due d SET owner = $1, handed = pick.n <= $6, token = d.token + 1 FROM pick WHERE d.key = pick.key AND d.number = pick.number RETURNING d.key, d.number, d.token, d.due, d.deadline, d.id, d.handed)
		`+selectHanded, owner, keys, numbers, tokens, inLease, t.ahead(chosen))
	if err != nil {
		return s.failed(ctx, err)
	}
	got, err := s.handed(ctx, owner, rows)
	if err != nil {
		return s.failed(ctx, err)
	}
	for _, c := range chosen {
		if h, ok := got[[2]int64{c.key, int64(c.number)}]; ok {
			c.token, c.lease, c.handed = h.token, h.lease, h.lease != nil
			if c.lease != nil {
				c.lease.lane = c.lane
			}
			t.claimed = append(t.claimed, c)
		}
	}
	return nil
}

// ahead is how many of those are handed out at once: the first, and some more to a caller who comes again and again.
func (t *turns) ahead(claims []claim) int {
	if t.streak > batch {
		return min(ahead, len(claims))
	}
	return 1
}
