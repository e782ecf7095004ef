package notify

import (
	"context"
	"slices"
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
)

// Forget drops the cursors of all followers whose names begin with prefix, but for those that are kept, so that the journal keeps
// nothing for them. A follower that somebody still acts for is waited for until ctx ends.
func Forget(ctx context.Context, j Journal, prefix string, kept []string) (forgotten []string, err error) {
	l, ok := j.(journal.CursorLister)
	if !ok {
		return nil, nil
	}
	names, err := l.CursorNames(ctx, prefix)
	if err != nil {
		return nil, err
	}
	gone := make(map[string][]string) // cursors by follower
	for _, name := range names {
		follower, _, _ := strings.Cut(name, "/")
		if !slices.Contains(kept, follower) {
			gone[follower] = append(gone[follower], name)
		}
	}
	for follower, cursors := range gone {
		if err := forget(ctx, j, follower, cursors); err != nil {
			return forgotten, err
		}
		forgotten = append(forgotten, follower)
	}
	return forgotten, nil
}

func forget(ctx context.Context, j Journal, follower string, cursors []string) error {
	leave, err := here.enter(ctx, j, follower)
	if err != nil {
		return err
	}
	defer leave()
	if c, ok := j.(journal.Claimer); ok {
		_, release, err := c.Claim(ctx, follower)
		if err != nil {
			return err
		}
		defer release()
	}
	for _, name := range cursors {
		if err := j.DropCursor(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// slotsTaken are the slots that have a cursor.
func (t *tail) slotsTaken(ctx context.Context) (taken []int, err error) {
	l, ok := t.Journal.(journal.CursorLister)
	if !ok {
		for slot := range t.slots {
			taken = append(taken, slot)
		}
		return taken, nil
	}
	names, err := l.CursorNames(ctx, t.Name+"/")
	for slot := range t.slots {
		if slices.Contains(names, t.slotName(slot)) {
			taken = append(taken, slot)
		}
	}
	return taken, err
}
