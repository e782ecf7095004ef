package spoolpostgres

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

const (
	batch     = 32      // jobs that are claimed at once
	groups    = 256     // groups of a user's jobs of one priority that are looked at in one scan, in all its lanes together
	window    = 32      // lanes that are looked at in one scan; the next goes on with the others
	quick     = 4       // scans of a part that find nothing, until all is scanned
	enough    = 1 << 14 // rows of a scan; more are never looked at at once
	ahead     = 8       // jobs that are handed out at once while a caller is busy
	busy      = 100 * time.Millisecond
	relook    = time.Second // how old the list of lanes is at most
	lowTurn   = 8           // of so many turns one goes to a lower priority
	maxServed = 100_000
)

// turns decide what is leased next. Each node decides for itself, among what is due in lanes where it has
// room; it claims a batch in the order of the turns, which no other node can claim then.
type turns struct {
	mu         sync.Mutex // one claims at a time
	claimed    []claim
	asked      time.Time
	streak     int // of askings, each soon after the one before
	latest     time.Time
	count      int
	served     map[turn]int     // the number of the turn that was last given
	cursors    map[string]place // after which a lane's next scan begins; none: at its beginning
	known      []string         // lanes that have jobs, as of looked
	looked     time.Time
	anew       bool        // they are listed before anything is said of what is due
	looking    atomic.Bool // they are being listed beside
	lane0      string      // the lane after which the next scan begins
	share      int         // jobs of a user that are looked at
	doubt      bool        // the database may have more as this node's than it knows of
	reconciled time.Time

	lanesMu sync.Mutex
	lanes   map[string]queue.LaneState
	stale   map[string]bool // lanes that changed since the claims
}

type turn struct{ user, lane string }

// place in a lane is a group of jobs: those of one user and priority.
type place struct {
	user string
	rank int16
}

// claim is a job that may be handed out.
type claim struct {
	key           int64
	number        int32
	token         int64
	lane, user    string
	rank          int16 // the priority, the highest first
	due, deadline int64
	lease         *lease // if it was handed out ahead
	handed        bool
}

// columns are claims as arrays for a statement.
func columns(claims []claim) (keys []int64, numbers []int32, tokens []int64) {
	for _, c := range claims {
		keys, numbers, tokens = append(keys, c.key), append(numbers, c.number), append(tokens, c.token)
	}
	return keys, numbers, tokens
}

func (t *turns) init() {
	t.served, t.cursors = make(map[turn]int), make(map[string]place)
	t.lanes, t.stale, t.share, t.anew = make(map[string]queue.LaneState), make(map[string]bool), batch, true
}

// SetLane implements queue.Spool.
func (s *Store) SetLane(name string, state queue.LaneState) {
	t := &s.turns
	t.lanesMu.Lock()
	t.lanes[name], t.stale[name] = state, true
	t.lanesMu.Unlock()
	s.wake()
}

func (t *turns) lane(name string) queue.LaneState {
	if name == "" {
		return queue.LaneState{Limit: -1, Proven: true}
	}
	t.lanesMu.Lock()
	defer t.lanesMu.Unlock()
	if l, ok := t.lanes[name]; ok {
		return l
	}
	return queue.NewLane
}

// room is how many more of a lane are taken.
func (t *turns) room(s *Store, lane string, want queue.Want) int {
	l := t.lane(lane)
	switch {
	case want.Proven && !l.Proven:
		return 0
	case l.Limit < 0:
		return math.MaxInt
	}
	return max(0, l.Limit-s.hands.in(lane))
}

// forget drops claims that are somebody else's by now.
func (t *turns) forget() {
	t.mu.Lock()
	t.claimed = nil
	t.mu.Unlock()
}

// isStale tells whether lanes changed that the claims are of.
func (t *turns) isStale() bool {
	t.lanesMu.Lock()
	defer t.lanesMu.Unlock()
	stale := slices.ContainsFunc(t.claimed, func(c claim) bool { return t.stale[c.lane] })
	clear(t.stale)
	return stale
}

// Lease implements queue.Spool.
func (s *Store) Lease(ctx context.Context, now time.Time, want queue.Want) (queue.Lease, time.Time, error) {
	if err := s.check(ctx); err != nil {
		return nil, time.Time{}, err
	}
	if !s.delivers() {
		return nil, time.Time{}, queue.ErrNoneDue
	}
	s.heed()
	t := &s.turns
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Since(t.asked) > busy {
		t.streak = 0
	}
	t.streak++
	t.asked = time.Now()
	if err := t.clock(ctx, s, now); err != nil {
		return nil, time.Time{}, err
	}
	if t.isStale() {
		if err := t.flush(ctx, s); err != nil {
			return nil, time.Time{}, err
		}
	}
	if t.doubt = t.doubt || s.hands.over(); t.doubt {
		t.claimed = nil
	}
	if t.doubt || time.Since(t.reconciled) >= poll {
		if err := t.reconcile(ctx, s); err != nil {
			return nil, time.Time{}, err
		}
	}
	whole := false // nothing was due in a scan of all that there is
	for scans := 0; ; scans++ {
		for len(t.claimed) > 0 {
			c := t.claimed[0]
			if c.deadline > nanos(now) && (c.due > nanos(now) || t.room(s, c.lane, want) == 0) {
				if err := t.flush(ctx, s); err != nil {
					return nil, time.Time{}, err
				}
				break
			}
			if !c.handed {
				if err := t.handAhead(ctx, s); err != nil {
					t.doubt = true
					return nil, time.Time{}, err
				}
				c = t.claimed[0]
			}
			t.claimed = t.claimed[1:]
			if c.lease != nil {
				s.hands.add(c.lease)
				return c.lease, time.Time{}, nil
			}
		}
		if whole || scans > 2*quick {
			next, err := s.next(ctx, now)
			if err != nil {
				return nil, time.Time{}, err
			}
			return nil, next, queue.ErrNoneDue
		}
		if scans == 1 {
			t.anew = true
		}
		due, all, err := t.scan(ctx, s, now, want, scans >= quick)
		if err != nil {
			return nil, time.Time{}, err
		}
		chosen := t.choose(s, due, now, want)
		if err := t.claim(ctx, s, chosen); err != nil {
			t.doubt = true
			return nil, time.Time{}, err
		}
		whole = all && len(chosen) == 0
	}
}

// handAhead hands out the first claim, and with it some more to a caller who comes again and again.
func (t *turns) handAhead(ctx context.Context, s *Store) error {
	n := 1
	if t.streak > batch {
		n = min(ahead, len(t.claimed))
	}
	leases, err := s.handOut(ctx, t.claimed[:n])
	if err != nil {
		return err
	}
	for i, l := range leases {
		t.claimed[i].lease, t.claimed[i].handed = l, true
	}
	return nil
}

// reconcile gives back what the database has as this node's and this node does not: now and then too, since a claim that was given up
// may still be done by a server that said nothing for a while.
func (t *turns) reconcile(ctx context.Context, s *Store) error {
	t.doubt, t.reconciled = false, time.Now()
	keys, numbers := s.hands.list()
	for _, c := range t.claimed {
		keys, numbers = append(keys, c.key), append(numbers, c.number)
	}
	err := s.ask(ctx, func(ctx context.Context, db *pgxpool.Pool) error {
		_, err := db.Exec(ctx, `UPDATE msa_due SET owner = NULL, handed = false WHERE owner = $1
			AND NOT EXISTS (SELECT 1 FROM unnest($2::bigint[], $3::int[]) AS w(key, number) WHERE w.key = msa_due.key AND w.number = msa_due.number)`, s.owner.Load(), keys, numbers)
		return err
	})
	t.doubt = err != nil
	return err
}

// clock notices that this node's clock was set back: nobody knows then when what waits was to be due.
func (t *turns) clock(ctx context.Context, s *Store, now time.Time) error {
	if now.Before(t.latest.Add(-time.Minute)) {
		if err := s.ask(ctx, func(ctx context.Context, db *pgxpool.Pool) error {
			_, err := db.Exec(ctx, "UPDATE msa_due SET due = $1 WHERE owner IS NULL AND NOT held AND due > $1 AND number > 0", nanos(now))
			return err
		}); err != nil {
			return err
		}
		t.latest = now
	}
	if now.After(t.latest) {
		t.latest = now
	}
	return nil
}

// scan finds jobs that are due: a few of each user in lanes that have room, and what is overdue. It looks at some lanes and
// users, and the next scan at others, so that it costs the same however many wait; or at all of them.
func (t *turns) scan(ctx context.Context, s *Store, now time.Time, want queue.Want, all bool) (due []claim, whole bool, err error) {
	err = s.ask(ctx, func(ctx context.Context, db *pgxpool.Pool) error {
		due, whole = nil, false
		switch age := time.Since(t.looked); {
		case all || t.anew:
			if err := t.look(ctx, db); err != nil {
				return err
			}
			whole, t.anew = true, false
		case age >= relook && t.looking.CompareAndSwap(false, true):
			go t.lookBeside(s)
		}
		lanes := t.ready(s, want)
		limit, share := math.MaxInt32, 2
		if !all {
			share = t.share
			if len(lanes) > window {
				lanes, whole = t.rotate(lanes), false
			}
			limit = max(8, groups/max(1, len(lanes)))
		}
		users, ranks := make([]string, len(lanes)), make([]int16, len(lanes))
		for i, lane := range lanes {
			ranks[i] = math.MinInt16
			if at, ok := t.cursors[lane]; ok && !all {
				users[i], ranks[i], whole = at.user, at.rank, false
			}
		}
		if len(lanes) > 0 {
			rows, err := db.Query(ctx, `SELECT c.key, c.number, c.token, l.lane, g.usr, g.rank, c.due, c.deadline FROM unnest($1::text[], $2::text[], $3::smallint[]) AS l(lane, usr, rank)
				CROSS JOIN LATERAL (WITH RECURSIVE r AS (
					(SELECT usr, rank, 1 AS n FROM msa_due WHERE owner IS NULL AND NOT held AND lane = l.lane AND (usr, rank) > (l.usr, l.rank) ORDER BY usr, rank LIMIT 1)
					UNION ALL
					SELECT x.usr, x.rank, r.n + 1 FROM r CROSS JOIN LATERAL (
						SELECT usr, rank FROM msa_due WHERE owner IS NULL AND NOT held AND lane = l.lane AND (usr, rank) > (r.usr, r.rank) ORDER BY usr, rank LIMIT 1) x WHERE r.n < $6)
					SELECT usr, rank FROM r) g
				LEFT JOIN LATERAL (SELECT key, number, token, due, deadline FROM msa_due
					WHERE owner IS NULL AND NOT held AND lane = l.lane AND usr = g.usr AND rank = g.rank AND due <= $4 ORDER BY due, key, number LIMIT $5) c ON true
				WHERE c.key IS NOT NULL OR $6 < $7 LIMIT $7`,
				lanes, users, ranks, nanos(now), share, limit, enough)
			var more bool
			if due, more, err = t.gather(rows, err, lanes, limit); err != nil {
				return err
			}
			whole = whole && !more
		}
		rows, err := db.Query(ctx, `SELECT key, number, token, lane, usr, rank, due, deadline FROM msa_due
			WHERE owner IS NULL AND NOT held AND deadline <= $1 ORDER BY deadline LIMIT $2`, nanos(now), 2*batch)
		due, err = collect(rows, err, due)
		return err
	})
	return due, whole, err
}

// lookBeside lists the lanes while others are claimed from.
func (t *turns) lookBeside(s *Store) {
	defer t.looking.Store(false)
	var known []string
	ctx, cancel := context.WithTimeout(s.life, s.timeout)
	defer cancel()
	if err := s.ask(ctx, func(ctx context.Context, db *pgxpool.Pool) (err error) {
		known, err = lanesWithJobs(ctx, db)
		return err
	}); err != nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.known, t.looked = known, time.Now()
}

// look lists the lanes that have jobs.
func (t *turns) look(ctx context.Context, db *pgxpool.Pool) error {
	known, err := lanesWithJobs(ctx, db)
	if err == nil {
		t.known, t.looked = known, time.Now()
	}
	return err
}

func lanesWithJobs(ctx context.Context, db *pgxpool.Pool) ([]string, error) {
	rows, err := db.Query(ctx, `WITH RECURSIVE l AS (
		(SELECT lane FROM msa_due WHERE owner IS NULL AND NOT held ORDER BY lane LIMIT 1)
		UNION ALL
		SELECT (SELECT d.lane FROM msa_due d WHERE owner IS NULL AND NOT held AND d.lane > l.lane ORDER BY d.lane LIMIT 1) FROM l WHERE l.lane IS NOT NULL)
		SELECT lane FROM l WHERE lane IS NOT NULL`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// ready are the lanes of which something is taken.
func (t *turns) ready(s *Store, want queue.Want) (lanes []string) {
	for _, lane := range t.known {
		if t.room(s, lane, want) > 0 {
			lanes = append(lanes, lane)
		}
	}
	return lanes
}

// rotate is a window of lanes, after that of the scan before.
func (t *turns) rotate(lanes []string) []string {
	from, _ := slices.BinarySearch(lanes, t.lane0+"\x00")
	some := make([]string, 0, window)
	for i := range window {
		some = append(some, lanes[(from+i)%len(lanes)])
	}
	t.lane0 = some[window-1]
	return some
}

// gather reads a scan's jobs, and notes where in each lane the next one goes on. It sees to it that the next looks at so many jobs of each
// group that there are enough for a batch and not many more.
func (t *turns) gather(rows pgx.Rows, err error, lanes []string, limit int) (due []claim, more bool, err2 error) {
	if err != nil {
		return nil, false, err
	}
	var key, token, when, deadline *int64
	var number *int32
	var c claim
	last, count := make(map[string]place), make(map[string]int)
	users := make(map[turn]bool)
	_, err = pgx.ForEachRow(rows, []any{&key, &number, &token, &c.lane, &c.user, &c.rank, &when, &deadline}, func() error {
		if at := (place{c.user, c.rank}); count[c.lane] == 0 || last[c.lane] != at {
			last[c.lane] = at
			count[c.lane]++
		}
		if key != nil {
			c.key, c.number, c.token, c.due, c.deadline = *key, *number, *token, *when, *deadline
			due = append(due, c)
			users[turn{c.user, c.lane}] = true
		}
		return nil
	})
	if err != nil {
		return nil, false, err
	}
	for _, lane := range lanes {
		if count[lane] < limit {
			delete(t.cursors, lane)
		} else {
			t.cursors[lane], more = last[lane], true
		}
	}
	if len(t.cursors) > maxServed {
		clear(t.cursors)
	}
	t.share = max(1, min(batch, 8*batch/max(1, len(users))))
	return due, more, nil
}

func collect(rows pgx.Rows, err error, all []claim) ([]claim, error) {
	if err != nil {
		return nil, err
	}
	var c claim
	_, err = pgx.ForEachRow(rows, []any{&c.key, &c.number, &c.token, &c.lane, &c.user, &c.rank, &c.due, &c.deadline}, func() error {
		all = append(all, c)
		return nil
	})
	return all, err
}

// choose gives turns: to the highest priority, or now and then to the lowest, there to the user who has waited
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
	if len(t.served) > maxServed {
		clear(t.served)
	}
	for len(chosen) < batch {
		low := (t.count+1)%lowTurn == 0
		best := -1
		for i := range due {
			c := &due[i]
			if c.deadline > nanos(now) && room[c.lane] == 0 {
				continue
			}
			if best < 0 || t.before(c, &due[best], low) {
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

func (t *turns) before(a, b *claim, low bool) bool {
	rank := cmp.Compare(a.rank, b.rank)
	if low {
		rank = -rank
	}
	return cmp.Or(rank, cmp.Compare(t.served[turn{a.user, a.lane}], t.served[turn{b.user, b.lane}]),
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
	// A change of the job has changed its token.
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	rows, err := s.pool.Query(ctx, `WITH me AS (SELECT id FROM msa_node WHERE id = $1 FOR SHARE), pick AS (
		SELECT d.key, d.number FROM msa_due d JOIN unnest($2::bigint[], $3::int[], $4::bigint[]) AS w(key, number, token) ON d.key = w.key AND d.number = w.number AND d.token = w.token, me
		WHERE d.owner IS NULL AND NOT d.held FOR UPDATE OF d SKIP LOCKED)
		UPDATE msa_due d SET owner = $1, handed = false, token = d.token + 1 FROM pick WHERE d.key = pick.key AND d.number = pick.number RETURNING d.key, d.number`,
		s.owner.Load(), keys, numbers, tokens)
	if err != nil {
		return s.failed(ctx, err)
	}
	got := make(map[[2]int64]bool)
	var key int64
	var number int32
	if _, err := pgx.ForEachRow(rows, []any{&key, &number}, func() error { got[[2]int64{key, int64(number)}] = true; return nil }); err != nil {
		return s.failed(ctx, err)
	}
	for _, c := range chosen {
		if got[[2]int64{c.key, int64(c.number)}] {
			c.token++
			t.claimed = append(t.claimed, c)
		}
	}
	return nil
}

// next is when the next job comes due.
func (s *Store) next(ctx context.Context, now time.Time) (next time.Time, err error) {
	err = s.ask(ctx, func(ctx context.Context, db *pgxpool.Pool) error {
		var at *int64
		if err := db.QueryRow(ctx, `SELECT least(
			(SELECT min(due) FROM msa_due WHERE owner IS NULL AND NOT held AND due > $1),
			(SELECT min(deadline) FROM msa_due WHERE owner IS NULL AND NOT held AND deadline > $1 AND deadline < $2))`, nanos(now), never).Scan(&at); err != nil {
			return err
		}
		next = time.Time{}
		if at != nil {
			next = timeOf(*at)
		}
		return nil
	})
	return next, err
}

// Times as they are stored: nanoseconds, the zero time before all others.
const (
	always = math.MinInt64
	never  = math.MaxInt64
)

func nanos(t time.Time) int64 {
	switch {
	case t.IsZero(), t.Year() < 1678:
		return always
	case t.Year() > 2261:
		return never - 1
	}
	return t.UnixNano()
}

func timeOf(n int64) time.Time { return time.Unix(0, n).UTC() }

func isNotFound(err error) bool { return errors.Is(err, queue.ErrNotFound) }
