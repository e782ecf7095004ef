package spoolfile

import (
	"fmt"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// limits are how much the spool takes; 0 for any number.
type limits struct{ messages, octets int64 }

// Adjust sets what may be changed while the spool is open.
func (s *Store) Adjust(o Options) {
	o.setDefaults()
	s.space.reserve.Store(max(0, o.Reserve))
	s.limits.Store(&limits{o.MaxMessages, o.MaxOctets})
}

// overLimits gives ErrFull when there is as much as may be. Messages that arrive at the same
// time may go over it together.
func (s *Store) overLimits() error {
	l := s.limits.Load()
	messages, octets := int64(s.schedule.len()), s.held.Load()
	if (l.messages == 0 || messages < l.messages) && (l.octets == 0 || octets < l.octets) {
		if s.limited.CompareAndSwap(true, false) {
			s.log.Info("the spool is below its limits again", zap.String("directory", s.dir))
		}
		return nil
	}
	if s.limited.CompareAndSwap(false, true) {
		s.log.Error("the spool has reached its limits: messages are refused until some are delivered",
			zap.String("directory", s.dir), zap.Int64("messages", messages), zap.Int64("octets", octets))
	}
	return fmt.Errorf("%w: %d messages of %d octets are in %s", queue.ErrFull, messages, octets, s.dir)
}
