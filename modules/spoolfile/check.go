package spoolfile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// Check implements queue.Checker: it reads every envelope and every octet of every message, whose
// checksums the store has, while others go on. A message that is delivered meanwhile is whole.
func (s *Store) Check(ctx context.Context, progress func(int), found func(id, problem string)) (messages int, octets int64, err error) {
	for after := ""; ; {
		ids, err := retried(ctx, s, func() ([]string, error) { return s.ids(after) })
		if err != nil {
			return messages, octets, err
		}
		for _, id := range ids {
			if err := ctx.Err(); err != nil {
				return messages, octets, err
			}
			n, err := retried(ctx, s, func() (int64, error) { return s.checkMessage(ctx, id) })
			if isDown(err) {
				return messages, octets, err
			}
			if errors.Is(err, queue.ErrNotFound) {
				continue
			}
			if messages++; err != nil {
				found(id, err.Error())
			}
			octets += n
		}
		progress(messages)
		if len(ids) < listPage {
			s.checkAside(found)
			return messages, octets, s.checkJournal(ctx, found)
		}
		after = ids[len(ids)-1]
	}
}

// checkAside names what was set aside because it is damaged, until the operator removes it.
func (s *Store) checkAside(found func(id, problem string)) {
	s.damage.mu.Lock()
	aside := maps.Clone(s.damage.aside)
	s.damage.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(aside)) {
		dir := s.fs.PathJoin(s.path(asideDir), name)
		if _, err := s.fs.Stat(dir); err != nil {
			continue // the operator has removed it
		}
		r := aside[name]
		found(asideDir+"/"+name, "damage was set aside: "+r.Cause+"; 'caddy msa spool salvage "+s.dir+"' gets what can be had of it")
		for _, id := range slices.Sorted(maps.Keys(r.Lost)) {
			if s.schedule.find(id) == nil {
				found(id, r.Lost[id])
			}
		}
	}
}

// checkMessage reads a message, and returns its size.
func (s *Store) checkMessage(ctx context.Context, id string) (octets int64, err error) {
	v, err := s.Get(ctx, id)
	if err != nil {
		return 0, err
	}
	if why := s.problem(id); why != "" {
		return 0, errors.New(why)
	}
	e := s.schedule.find(id)
	if e == nil {
		return 0, queue.ErrNotFound
	}
	m, err := s.read(e)
	if err == nil {
		octets, err = m.octets()
	}
	if err != nil {
		if s.schedule.find(id) == nil {
			return 0, queue.ErrNotFound
		}
		if !isDown(err) {
			s.spoil(e, err)
		}
		return octets, err
	}
	if octets != v.Entry.Size {
		return octets, fmt.Errorf("the message has %d octets and not %d", octets, v.Entry.Size)
	}
	return octets, nil
}

// Interface guards
var (
	_ queue.Checker       = (*Store)(nil)
	_ queue.DamageCounter = (*Store)(nil)
)
