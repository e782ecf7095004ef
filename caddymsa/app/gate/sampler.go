package gate

import (
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"
)

// What a stranger may repeat, it could fill the disk with. So of the log lines of one cause from
// one network the first of each minute are written, and the rest are counted.
const (
	strangerLines = 60   // a minute, of one cause from one network
	causeLines    = 600  // a minute, of one cause from all strangers
	clientLines   = 1000 // a minute, of one cause from a network, of clients that have authenticated
	sampleWindow  = time.Minute
	maxSamples    = 10_000 // causes and networks that are told apart, in some 2 MiB
)

// sampler counts log lines. The counts outlive reloads.
type sampler struct {
	mu    sync.Mutex
	lines map[sampleKey]*sample
}

type sampleKey struct {
	cause   string
	network netip.Prefix // zero: all
}

type sample struct {
	written, left int
}

func newSampler() *sampler { return &sampler{lines: make(map[sampleKey]*sample)} }

// Stranger tells whether a line about a stranger may be written. cause is one of few.
func (s *sampler) Stranger(log *zap.Logger, cause string, network netip.Prefix) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	own := !network.IsValid() || s.count(log, sampleKey{cause, network}, strangerLines)
	return own && s.count(log, sampleKey{cause: cause}, causeLines)
}

// Client is the same for one that has authenticated.
func (s *sampler) Client(log *zap.Logger, cause string, network netip.Prefix) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count(log, sampleKey{"client: " + cause, network}, clientLines)
}

// count counts a line, and tells whether it is among the first of its minute.
func (s *sampler) count(log *zap.Logger, key sampleKey, most int) bool {
	c := s.lines[key]
	if c == nil {
		if len(s.lines) >= maxSamples && key.network.IsValid() {
			return true // all together are counted still
		}
		c = new(sample)
		s.lines[key] = c
		time.AfterFunc(sampleWindow, func() { s.end(log, key) })
	}
	if c.written < most {
		c.written++
		return true
	}
	c.left++
	return false
}

// end says how many lines were left out, and begins anew.
func (s *sampler) end(log *zap.Logger, key sampleKey) {
	s.mu.Lock()
	c := s.lines[key]
	delete(s.lines, key)
	s.mu.Unlock()
	if c.left == 0 {
		return
	}
	from := "all strangers"
	if key.network.IsValid() {
		from = key.network.String()
	}
	log.Warn("log lines left out", zap.String("cause", key.cause), zap.String("from", from), zap.Int("count", c.left),
		zap.Duration("within", sampleWindow))
}
