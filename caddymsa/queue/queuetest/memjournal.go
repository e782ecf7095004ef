package queuetest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
)

// memJournal are the facts that the nodes share, as they would be on a disk.
type memJournal struct {
	facts   []memFact // in their order
	latest  int64     // place that was given
	cursors map[string]int64
	claimed map[string]chan struct{} // closed when whoever has the follower releases it
}

type memFact struct {
	at   int64
	time time.Time
	text []byte // JSON
}

func (f *memFact) fact() *journal.Fact {
	fact := new(journal.Fact)
	if err := json.Unmarshal(f.text, fact); err != nil {
		panic(err) // it is our own
	}
	fact.Position = position(f.at)
	return fact
}

func position(at int64) journal.Position {
	return journal.Position(strconv.FormatInt(at, 10))
}

func place(p journal.Position) (at int64, err error) {
	if p == "" {
		return 0, nil
	}
	if at, err = strconv.ParseInt(string(p), 10, 64); err != nil {
		return 0, fmt.Errorf("%q is not a place in this journal", p)
	}
	return at, nil
}

// keep adds facts, as part of a commit.
func (s *MemSpool) keep(facts []journal.Fact) {
	if s.limits.Off {
		return
	}
	for i := range facts {
		text, err := json.Marshal(&facts[i])
		if err != nil {
			panic(err)
		}
		s.journal.latest++
		s.journal.facts = append(s.journal.facts, memFact{s.journal.latest, facts[i].Time, text})
	}
	s.trim()
}

// trim forgets what is beyond the limits.
func (s *MemSpool) trim() {
	j := &s.journal
	held, octets := j.latest, int64(0)
	for _, at := range j.cursors {
		held = min(held, at)
	}
	for i := range j.facts {
		octets += int64(len(j.facts[i].text))
	}
	n := 0
	for ; n < len(j.facts); n++ {
		f := &j.facts[n]
		old := s.limits.Keep > 0 && time.Since(f.time) > s.limits.Keep
		most := s.limits.MaxSize
		if f.at > held { // somebody has not heard of it
			old, most = false, 2*most
		}
		if !old && (most == 0 || octets <= most) {
			break
		}
		octets -= int64(len(f.text))
	}
	j.facts = slices.Delete(j.facts, 0, n)
}

// Facts implements journal.Reader.
func (s *MemSpool) Facts(ctx context.Context, q *journal.Query, yield func(*journal.Fact) bool) error {
	before, err := place(q.Before)
	if err != nil {
		return err
	}
	if err := s.enter(ctx); err != nil {
		return err
	}
	s.trim()
	all := slices.Clone(s.journal.facts)
	s.mu.Unlock()
	for _, f := range slices.Backward(all) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if before > 0 && f.at >= before {
			continue
		}
		if fact := f.fact(); q.Match(fact) && !yield(fact) {
			return nil
		}
	}
	return nil
}

// Follow implements journal.Reader.
func (s *MemSpool) Follow(ctx context.Context, after journal.Position, limit int) (facts []journal.Fact, err error) {
	from, err := place(after)
	if err != nil {
		return nil, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	s.trim()
	for i := range s.journal.facts {
		if f := &s.journal.facts[i]; f.at > from && len(facts) < limit {
			facts = append(facts, *f.fact())
		}
	}
	return facts, nil
}

// Note implements journal.Noter.
func (s *MemSpool) Note(facts ...journal.Fact) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notes.Add(time.Now(), facts...)
	s.keep(s.notes.Take())
}

// Cursor implements journal.Cursors.
func (s *MemSpool) Cursor(ctx context.Context, name string) (journal.Position, error) {
	if err := s.enter(ctx); err != nil {
		return "", err
	}
	defer s.mu.Unlock()
	if at, begun := s.journal.cursors[name]; begun {
		return position(at), nil
	}
	return "", nil
}

// SetCursor implements journal.Cursors.
func (s *MemSpool) SetCursor(ctx context.Context, name string, p journal.Position) error {
	at, err := place(p)
	if err != nil {
		return err
	}
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	s.journal.cursors[name] = at
	return nil
}

// DropCursor implements journal.Cursors.
func (s *MemSpool) DropCursor(ctx context.Context, name string) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	delete(s.journal.cursors, name)
	return nil
}

// CursorNames implements journal.CursorLister.
func (s *MemSpool) CursorNames(ctx context.Context, prefix string) (names []string, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	for name := range s.journal.cursors {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	return names, nil
}

// SetLimits implements journal.Keeper.
func (s *MemSpool) SetLimits(l journal.Limits) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limits = l
	s.notes.SetLimits(l)
	s.trim()
}

// Purge implements journal.Keeper.
func (s *MemSpool) Purge(ctx context.Context, address string) (n int, err error) {
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	for i := range s.journal.facts {
		f := s.journal.facts[i].fact()
		if !f.Forget(address) {
			continue
		}
		if s.journal.facts[i].text, err = json.Marshal(f); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// Stat implements journal.Keeper.
func (s *MemSpool) Stat(ctx context.Context) (journal.Stat, error) {
	if err := s.enter(ctx); err != nil {
		return journal.Stat{}, err
	}
	defer s.mu.Unlock()
	s.trim()
	stat := s.notes.Stat()
	stat.Facts, stat.End = int64(len(s.journal.facts)), position(s.journal.latest)
	for i := range s.journal.facts {
		stat.Octets += int64(len(s.journal.facts[i].text))
	}
	if len(s.journal.facts) > 0 {
		stat.Oldest = s.journal.facts[0].time
	}
	return stat, nil
}

// memClaim is a follower that this node acts for.
type memClaim struct {
	name string
	lost chan struct{}
}

// Claim implements journal.Claimer.
func (s *MemSpool) Claim(ctx context.Context, follower string) (<-chan struct{}, func(), error) {
	for {
		if err := s.enter(ctx); err != nil {
			return nil, nil, err
		}
		free, taken := s.journal.claimed[follower]
		if !taken {
			break
		}
		s.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case <-free:
		}
	}
	defer s.mu.Unlock()
	c := &memClaim{follower, make(chan struct{})}
	s.journal.claimed[follower] = make(chan struct{})
	s.claims = append(s.claims, c)
	return c.lost, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.unclaim(c)
	}, nil
}

// unclaim has others act for a follower.
func (s *MemSpool) unclaim(c *memClaim) {
	i := slices.Index(s.claims, c)
	if i < 0 {
		return
	}
	s.claims = slices.Delete(s.claims, i, i+1)
	close(s.journal.claimed[c.name])
	delete(s.journal.claimed, c.name)
}

// loseClaims is when this node is out of touch, or the spool closed.
func (s *MemSpool) loseClaims() {
	for len(s.claims) > 0 {
		c := s.claims[0]
		close(c.lost)
		s.unclaim(c)
	}
}

// Interface guards
var (
	_ journal.Journal = (*MemSpool)(nil)
	_ journal.Claimer = (*MemSpool)(nil)

	_ journal.CursorLister = (*MemSpool)(nil)
)
