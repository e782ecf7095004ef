package spoolfile

import (
	"context"
	"errors"

	"github.com/cockroachdb/pebble/v2"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// Pebble takes its time with giving back the room of what was deleted from its
// tables, and with nothing new coming in it never does: a disk that is full would
// stay so after all is delivered. The spool knows what lives in the tables, and
// has them rewritten when more than half of what they hold is dead.
const (
	tidyStep  = 16 << 20 // octets deleted between two looks
	tidySlack = 32 << 20 // octets of dead that nobody minds
	// An empty spool is tidied up sooner: it costs nothing.
	tidyEmpty = 4 << 20
	// tidyFull is how much must have been deleted for a look while the disk is full,
	// or an eighth of what lives: tables are not rewritten for less.
	tidyFull = 1 << 20
	// envelopeSize is what an envelope takes, about.
	envelopeSize = 600
)

// The keys of messages are between these, and the journal's before them.
var messagesFrom, messagesTo = []byte{bookPrefix + 1}, []byte{0xff}

// born counts the octets of a message that is there.
func (s *Store) born(e *entry) {
	s.held.Add(e.size + int64(e.envelope))
	if e.file == 0 {
		s.live.Add(e.size)
	}
}

// buried counts the octets of a message that was deleted from the tables.
func (s *Store) buried(e *entry) {
	s.held.Add(-e.size - int64(e.envelope))
	if e.file != 0 {
		return
	}
	dead, unseen := s.dead.Add(e.size), s.unseen.Add(e.size)
	if live := s.live.Add(-e.size); unseen >= tidyStep || live == 0 && dead >= tidyEmpty {
		s.unseen.Store(0)
		s.askTidy()
	}
}

func (s *Store) askTidy() {
	select {
	case s.tidy <- struct{}{}:
	default: // somebody has asked already
	}
}

// tidier rewrites tables when that pays, until the spool is closed.
func (s *Store) tidier() {
	defer s.watching.Done()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		<-s.closing
		cancel()
	}()
	for {
		select {
		case <-s.closing:
			return
		case <-s.tidy:
		}
		eng, err := s.engine()
		if err == nil {
			err = s.tidyUp(ctx, eng)
		}
		if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, queue.ErrClosed) {
			s.log.Warn("the spool's tables could not be tidied up", zap.Error(err))
		}
	}
}

func (s *Store) tidyUp(ctx context.Context, eng *engine) error {
	usage, err := s.fs.GetDiskUsage(s.dir)
	if err != nil {
		return err
	}
	live := uint64(max(0, s.live.Load())) + envelopeSize*uint64(s.schedule.len())
	if usage.AvailBytes < live+memTable {
		return nil // the new tables would not fit beside the old ones
	}
	limit := 2*live + tidySlack
	full := usage.AvailBytes < uint64(s.space.reserve.Load())
	switch {
	case full && uint64(s.dead.Load()) < max(tidyFull, live/8):
		return nil // it would change nothing
	case full:
		limit = live
	case s.live.Load() == 0:
		limit = live + tidyEmpty
	}
	return eng.read(func(db *pebble.DB) error {
		held, err := db.EstimateDiskUsage(messagesFrom, messagesTo)
		if err != nil {
			return eng.met(err)
		}
		if held > limit || held <= live+tidyEmpty {
			s.dead.Store(0) // gone, or not worth it
		}
		if held <= limit {
			return nil
		}
		return eng.met(db.Compact(ctx, messagesFrom, messagesTo, false))
	})
}
