package app

import (
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// JournalConfig says how much is kept of what became of messages.
type JournalConfig struct {
	// Off: nothing is written, so there is no history. What was written before is kept for as long as it would have been.
	Off bool `json:"off,omitempty"`
	// Keep is for how long. Default 7d.
	Keep conf.Duration `json:"keep,omitempty"`
	// MaxSize is the most octets, beyond which the oldest go sooner. Default 1 GiB.
	MaxSize int64 `json:"max_size,omitempty"`
}

// minJournal is the least MaxSize: below it, it would forget what happens at the moment.
const minJournal = 1 << 20

func (c *JournalConfig) provision() error {
	if c.Off && (c.Keep != 0 || c.MaxSize != 0) {
		return errors.New("off does not go with keep or max_size: nothing is written; leave out the one or the others")
	}
	if err := conf.First(conf.SetDefault(&c.Keep, conf.Duration(journal.DefaultKeep), "keep"), conf.SetDefault(&c.MaxSize, journal.DefaultMaxSize, "max_size")); err != nil {
		return err
	}
	if c.MaxSize < minJournal {
		return fmt.Errorf("max_size: %d octets is too little; write at least 1MiB, or off", c.MaxSize)
	}
	return nil
}

// isOff tells whether nothing is written.
func (c *JournalConfig) isOff() bool { return c != nil && c.Off }

func (c *JournalConfig) limits() journal.Limits {
	if c == nil {
		return journal.Limits{Keep: journal.DefaultKeep, MaxSize: journal.DefaultMaxSize}
	}
	return journal.Limits{Off: c.Off, Keep: time.Duration(c.Keep), MaxSize: c.MaxSize}
}

// journal is the spool's, if it is one and it is written to.
func (d *delivery) journal() journal.Journal {
	if d == nil || d.app.Journal.isOff() {
		return nil
	}
	j, _ := d.store.spool.(journal.Journal)
	return j
}

// limitJournal has the journal keep what the configuration in charge says.
func (s *store) limitJournal() {
	if j, ok := s.spool.(journal.Journal); ok {
		if d := s.generations.top(); d != nil {
			_ = queue.Guarded(s.log, func() error { j.SetLimits(d.app.Journal.limits()); return nil })
		}
	}
}

// logJournal says that there is none where one is expected.
func (app *App) logJournal() {
	if _, ok := app.delivery.store.spool.(journal.Journal); !ok && !app.Journal.isOff() {
		app.log.Warn("this spool keeps no journal: there is no history of messages", zap.String("spool", app.delivery.store.key))
	}
}
