package spoolpostgres

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// claimEvery is how often is looked whether a follower has become free.
const claimEvery = time.Second

// claims are the followers that this node acts for: as long as it lives, as with leases.
type claims struct {
	mu   sync.Mutex
	held map[string]*followed
	free chan struct{}    // closed when one has become free here
	back map[int64]string // to be given back in the database, by token
}

type followed struct {
	token int64 // of this claim in the database
	lost  chan struct{}
}

func (c *claims) init() {
	c.held, c.back, c.free = make(map[string]*followed), make(map[int64]string), make(chan struct{})
}

// take has a follower for this node, unless somebody here has it. free is closed when that may have changed.
func (c *claims) take(follower string, f *followed) (free <-chan struct{}, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch c.held[follower] {
	case f:
	case nil:
		f.lost = make(chan struct{})
		c.held[follower] = f
	default:
		return c.free, false
	}
	return nil, true
}

// drop tells whether it was still there.
func (c *claims) drop(follower string, f *followed) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held[follower] != f {
		return false
	}
	delete(c.held, follower)
	c.freed()
	return true
}

func (c *claims) freed() {
	close(c.free)
	c.free = make(chan struct{})
}

// loseAll is when others may have them.
func (c *claims) loseAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.held {
		close(f.lost)
	}
	clear(c.held)
	c.freed()
}

// Claim implements journal.Claimer.
func (s *Store) Claim(ctx context.Context, follower string) (<-chan struct{}, func(), error) {
	c := &s.facts.claims
	f := &followed{token: rand.Int64()} //nolint:gosec // it only tells claims apart
	for {
		free, ok := c.take(follower, f) // again after this node was out of touch
		mine, err := false, error(nil)
		if ok {
			mine, err = s.claimFollower(ctx, follower, f)
		}
		if mine && err == nil {
			break
		}
		if err == nil || !s.closed() { // the database may be away: that passes
			err = ctx.Err()
		}
		if err != nil || s.closed() {
			c.drop(follower, f)
			if err == nil {
				err = queue.ErrClosed
			}
			return nil, nil, err
		}
		wait := time.NewTimer(claimEvery)
		select {
		case <-ctx.Done():
		case <-s.ended:
		case <-free:
		case <-wait.C:
		}
		wait.Stop()
	}
	return f.lost, func() {
		if c.drop(follower, f) {
			c.mu.Lock()
			c.back[f.token] = follower
			c.mu.Unlock()
			c.giveBack(s)
		}
	}, nil
}

// claimFollower tries once to have it in the database: from a node that is no longer, or nobody.
func (s *Store) claimFollower(ctx context.Context, follower string, f *followed) (mine bool, err error) {
	owner := s.owner.Load()
	err = s.ask(ctx, func(ctx context.Context, db *pgxpool.Pool) error {
		tag, err := db.Exec(ctx, `INSERT INTO msa_claim AS c (follower, owner, token) SELECT $1, id, $3 FROM msa_node WHERE id = $2
			ON CONFLICT (follower) DO UPDATE SET owner = excluded.owner, token = excluded.token WHERE c.owner = $2 OR NOT EXISTS (SELECT 1 FROM msa_node n WHERE n.id = c.owner)`, follower, owner, f.token)
		mine = err == nil && tag.RowsAffected() == 1
		return err
	})
	c := &s.facts.claims
	c.mu.Lock()
	defer c.mu.Unlock()
	if mine && (c.held[follower] != f || s.hands.over() || owner != s.owner.Load()) {
		mine = false // lost meanwhile
	}
	return mine, err
}

// giveBack has the database know of what was released; what fails is tried again.
func (c *claims) giveBack(s *Store) {
	c.mu.Lock()
	back := maps.Clone(c.back)
	clear(c.back)
	c.mu.Unlock()
	if len(back) == 0 || s.closed() {
		return
	}
	err := s.ask(context.Background(), func(ctx context.Context, db *pgxpool.Pool) error {
		_, err := db.Exec(ctx, "DELETE FROM msa_claim WHERE token = ANY($1)", slices.Collect(maps.Keys(back)))
		return err
	})
	if err == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.Copy(c.back, back)
}
