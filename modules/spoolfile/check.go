package spoolfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// Check implements queue.Checker: it reads every envelope and every octet of every message, whose
// checksums the store has, while others go on. A message that is delivered meanwhile is whole.
func (s *Store) Check(ctx context.Context, progress func(int), found func(id, problem string)) (messages int, octets int64, err error) {
	for after := ""; ; {
		ids, err := s.ids(after)
		if err != nil {
			return messages, octets, err
		}
		for _, id := range ids {
			if err := ctx.Err(); err != nil {
				return messages, octets, err
			}
			n, err := s.checkMessage(ctx, id)
			if _, down := s.engine(); err != nil && down != nil { // it met damage: the store is rebuilt
				if err := s.await(ctx); err != nil {
					return messages, octets, err
				}
				n, err = s.checkMessage(ctx, id)
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
			return messages, octets, nil
		}
		after = ids[len(ids)-1]
	}
}

// await waits for storage that failed to be open again.
func (s *Store) await(ctx context.Context) error {
	for {
		_, err := s.engine()
		if err == nil || errors.Is(err, queue.ErrClosed) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
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
	m, err := s.OpenMessage(ctx, id)
	if err == nil {
		octets, err = io.Copy(io.Discard, m)
		err = errors.Join(err, m.Close())
	}
	if err != nil {
		e := s.schedule.find(id)
		if e == nil {
			return 0, queue.ErrNotFound
		}
		if _, down := s.engine(); down == nil {
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
