package authldap

import (
	"slices"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"
)

// logs are those of the configurations that share a directory. It writes to the latest one's; if that configuration does not come
// into force, to the one's before again.
type logs struct {
	now atomic.Pointer[zap.Logger]

	mu  sync.Mutex
	all []*zap.Logger
}

// Load is the log that counts.
func (l *logs) Load() *zap.Logger { return l.now.Load() }

func (l *logs) add(log *zap.Logger) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, log)
	l.now.Store(log)
}

// remove is for the end of a configuration. The last one's stays.
func (l *logs) remove(log *zap.Logger) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.all, log); i >= 0 {
		l.all = slices.Delete(l.all, i, i+1)
	}
	if n := len(l.all); n > 0 {
		l.now.Store(l.all[n-1])
	}
}
