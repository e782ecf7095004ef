package spoolfile

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// space keeps the store from meeting a full disk. New messages are refused while
// less than the reserve is free, so that outcomes can still be recorded. Should
// someone else fill the disk, the ballast is given up to let the log be written.
type space struct {
	fs      vfs.FS // the plain one
	dir     string
	reserve atomic.Int64
	ballast int64
	name    string
	log     *zap.Logger
	ample   time.Duration

	ampleUntil atomic.Int64 // until when nobody looks; nanoseconds

	mu   sync.Mutex
	held bool // the ballast is on the disk
	full bool // the last look found no room; for the log

	nearlyFull func() // is told when little more than the reserve is free
}

// With so much free beside the reserve, nobody looks again for a moment, in which nothing fills it.
const (
	ampleOctets = 256 << 20
	ampleTime   = 20 * time.Millisecond
)

// check gives ErrFull when there is no room for a message.
func (s *space) check() error {
	now := time.Now().UnixNano()
	if until := s.ampleUntil.Load(); now < until && until <= now+int64(s.ample) { // no clock was set back
		return nil
	}
	usage, err := s.fs.GetDiskUsage(s.dir)
	if err != nil {
		return fmt.Errorf("free space of %s: %w", s.dir, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	reserve := uint64(s.reserve.Load())
	if usage.AvailBytes < reserve+shortBy {
		s.nearlyFull()
	}
	full := usage.AvailBytes < reserve
	if full != s.full {
		s.full = full
		if full {
			s.log.Error("no room in the spool: messages are refused until there is",
				zap.String("directory", s.dir), zap.Uint64("free", usage.AvailBytes), zap.Uint64("reserve", reserve))
		} else {
			s.log.Info("the spool has room again", zap.String("directory", s.dir))
		}
	}
	if full {
		return fmt.Errorf("%w: %d octets are free in %s, %d are kept in reserve", queue.ErrFull, usage.AvailBytes, s.dir, reserve)
	}
	if !s.held && s.ballast > 0 && usage.AvailBytes > reserve+2*uint64(s.ballast) {
		s.take()
	}
	if usage.AvailBytes > reserve+ampleOctets {
		s.ampleUntil.Store(now + int64(s.ample))
	}
	return nil
}

// take puts the ballast on the disk. Without it the spool works too.
func (s *space) take() {
	f, err := s.fs.Create(s.name, vfs.WriteCategoryUnspecified)
	if err != nil {
		s.log.Warn("spool ballast", zap.Error(err))
		return
	}
	defer f.Close()
	s.held = true
	if runtime.GOOS == "linux" && f.Preallocate(0, s.ballast) == nil {
		return
	}
	// Octets that no file system can compress.
	rnd, buf := rand.NewChaCha8([32]byte{}), make([]byte, 64<<10)
	for n := int64(0); n < s.ballast; n += int64(len(buf)) {
		_, _ = rnd.Read(buf)
		if _, err := f.Write(buf); err != nil {
			s.log.Warn("spool ballast", zap.Error(err))
			return
		}
	}
}

// drop gives the ballast up; the write that found the disk full is then tried again.
func (s *space) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.held {
		return
	}
	s.held = false
	s.log.Error("the disk of the spool is full: the ballast was given up", zap.String("directory", s.dir))
	if err := s.fs.Remove(s.name); err != nil {
		s.log.Warn("spool ballast", zap.Error(err))
	}
}
