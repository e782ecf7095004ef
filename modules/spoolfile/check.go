package spoolfile

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2"

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

// ids is a page of them.
func (s *Store) ids(after string) (ids []string, err error) {
	eng, err := s.engine()
	if err != nil {
		return nil, err
	}
	err = eng.each(envelopePrefix, after, func(id string, _ []byte) bool {
		ids = append(ids, id)
		return len(ids) < listPage
	})
	return ids, err
}

// checkMessage reads a message, and returns its size.
func (s *Store) checkMessage(ctx context.Context, id string) (octets int64, err error) {
	e, err := s.load(id)
	if err != nil {
		return 0, err
	}
	m, err := s.OpenMessage(ctx, id)
	if err == nil {
		octets, err = io.Copy(io.Discard, m)
		err = errors.Join(err, m.Close())
	}
	if err != nil {
		if _, gone := s.load(id); errors.Is(gone, queue.ErrNotFound) || errors.Is(gone, pebble.ErrNotFound) {
			return 0, queue.ErrNotFound
		}
		return octets, err
	}
	if octets != e.Size {
		return octets, fmt.Errorf("the message has %d octets and not %d", octets, e.Size)
	}
	return octets, nil
}

// Interface guard
var _ queue.Checker = (*Store)(nil)
