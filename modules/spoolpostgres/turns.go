package spoolpostgres

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

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
	lowTurn   = 8 // of so many turns one goes to a lower priority
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
	low        int16            // the rank that had the last turn of a lower priority
	served     map[turn]int     // the number of the turn that was last given
	cursors    map[string]place // after which a lane's next scan begins; none: at its beginning
	known      []string         // lanes that have jobs, as of looked
	looked     time.Time
	relook     time.Duration // how old known may be
	anew       bool          // they are listed before anything is said of what is due
	looking    atomic.Bool   // they are being listed beside
	lane0      string        // the lane after which the next scan begins
	share      int           // jobs of a user that are looked at
	doubt      bool          // the database may have more as this node's than it knows of
	reconciled time.Time

	lanesMu sync.Mutex
	lanes   map[string]queue.LaneState
	stale   map[string]bool      // lanes that changed since the claims
	news    map[string]time.Time // lanes in which jobs were put lately
	anyNews bool                 // some of them since known was looked at
}

type turn struct{ user, lane string }

// place in a lane is a group of jobs: those of one user and priority.
type place struct {
	user string
	rank int16
}

// columns are claims as arrays for a statement.
func columns(claims []claim) (keys []int64, numbers []int32, tokens []int64) {
	for _, c := range claims {
		keys, numbers, tokens = append(keys, c.key), append(numbers, c.number), append(tokens, c.token)
	}
	return keys, numbers, tokens
}

func (t *turns) init() {
	t.news = make(map[string]time.Time)
	t.served, t.cursors = make(map[turn]int), make(map[string]place)
	t.lanes, t.stale, t.share, t.anew = make(map[string]queue.LaneState), make(map[string]bool), firstLook, true
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
	n := t.ahead(t.claimed)
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
