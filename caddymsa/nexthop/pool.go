package nexthop

import (
	"io"
	"slices"
	"sync"
	"time"

	"github.com/emersion/go-smtp"
)

// peer is a connection on which a transaction may begin.
type peer struct {
	client *smtp.Client
	conn   *conn
	helo   string      // what was said in EHLO
	sent   int         // messages
	timer  *time.Timer // ends the idle time
}

// close ends the connection, with QUIT if that can be said. The reply to it is
// not waited for: nothing depends on it.
func (p *peer) close(quit bool) {
	if quit {
		_, _ = io.WriteString(p.conn, "QUIT\r\n") // a few octets never block
		_ = p.conn.Close()
	}
	_ = p.conn.raw.Close()
}

// pool keeps idle connections. The zero value keeps none.
type pool struct {
	max     int
	timeout time.Duration

	mu     sync.Mutex
	idle   []*peer
	closed bool
}

// get returns the connection that was used last, nil if there is none.
func (l *pool) get() *peer {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := len(l.idle) - 1
	if last < 0 {
		return nil
	}
	p := l.idle[last]
	l.idle[last] = nil
	l.idle = l.idle[:last]
	p.timer.Stop() // too late does no harm: it finds p gone
	return p
}

// put keeps p, or closes it.
func (l *pool) put(p *peer) {
	l.mu.Lock()
	keep := !l.closed && len(l.idle) < l.max
	if keep {
		l.idle = append(l.idle, p)
		if p.timer == nil {
			p.timer = time.AfterFunc(l.timeout, func() { l.expire(p) })
		} else {
			p.timer.Reset(l.timeout)
		}
	}
	l.mu.Unlock()
	if !keep {
		p.close(true)
	}
}

// expire closes p if it is idle.
func (l *pool) expire(p *peer) {
	l.mu.Lock()
	i := slices.Index(l.idle, p)
	if i >= 0 {
		l.idle = slices.Delete(l.idle, i, i+1)
	}
	l.mu.Unlock()
	if i >= 0 {
		p.close(true)
	}
}

// close closes what is idle and keeps nothing from now on.
func (l *pool) close() {
	l.mu.Lock()
	idle := l.idle
	l.idle, l.closed = nil, true
	l.mu.Unlock()
	for _, p := range idle {
		p.timer.Stop()
		p.close(true)
	}
}
