package spoolfile

import (
	"fmt"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// Room implements queue.Roomy.
func (s *Store) Room() (free, total, reserve int64, err error) {
	usage, err := s.space.fs.GetDiskUsage(s.space.dir)
	if err != nil {
		return 0, 0, 0, fmt.Errorf("free space of %s: %w", s.space.dir, err)
	}
	return int64(usage.AvailBytes), int64(usage.TotalBytes), s.space.reserve.Load(), nil
}

// Interface guard
var _ queue.Roomy = (*Store)(nil)
