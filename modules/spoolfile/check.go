package spoolfile

import (
	"context"
	"errors"
	"fmt"
	"io"

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
			return messages, octets, nil
		}
		after = ids[len(ids)-1]
	}
}

// checkMessage reads a message, and returns its size.
func (s *Store) checkMessage(ctx context.Context, id string) (octets int64, err error) {
	v, err := s.Get(ctx, id)
	if err != nil {
		return 0, err
	}
	m, err := s.OpenMessage(ctx, id)
	if err == nil {
		octets, err = io.Copy(io.Discard, m)
		err = errors.Join(err, m.Close())
	}
	if err != nil {
		if s.schedule.find(id) == nil {
			return 0, queue.ErrNotFound
		}
		return octets, err
	}
	if octets != v.Entry.Size {
		return octets, fmt.Errorf("the message has %d octets and not %d", octets, v.Entry.Size)
	}
	return octets, nil
}

// Interface guard
var _ queue.Checker = (*Store)(nil)
