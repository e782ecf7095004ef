package nexthop

import (
	"slices"
	"sync"
	"time"
)

// connection is a connection on which a transaction may begin.
type connection struct {
	*wire
	address  string // of the hop
	hello    string // what was said in EHLO
	offers   extensions
	tls      string // version and cipher
	verified bool   // the certificate was
	spurned  bool   // it has refused the TLS that it offered

	guessed   bool // HELO was said to a hop that has hung up on EHLO: what it takes is not known
	makeshift bool // another one may be better for the next message

	begun  int  // transactions, as MAILMAX counts them
	served int  // of these, those that ran their course; 1 if it was kept without any
	frank  bool // it has refused a sender, all recipients, DATA or parameters before it served: that is what the hop says of this message
	dirty  bool // a transaction was begun that no end of data has ended
	ending bool // it takes no further transaction
	rested bool // it comes out of the pool, and may have died there

	timer  *time.Timer // ends the idle time
	parked time.Time   // since when it is idle
}

// quitTimeout bounds the farewell: a few octets never block, unless nobody reads them.
const quitTimeout = 5 * time.Second

// close ends the connection, with QUIT if that can be said. The reply to it is not waited for: nothing
// depends on it.
func (p *connection) close(quit bool) {
	if quit {
		p.block = quitTimeout
		_ = p.write([]byte("QUIT\r\n"))
		_ = p.conn.Close()
	}
	_ = p.raw.Close()
}

// pool keeps idle connections. The zero value keeps none. The last one is kept for longer: messages
// that come one at a time then find a connection with TLS and log-in done, and no hop has to bear
// the many that a burst needed.
type pool struct {
	max           int
	timeout, last time.Duration

	mu     sync.Mutex
	idle   []*connection
	closed bool
}

// get returns the connection that was used last of those that said this name in EHLO, nil if there is none.
func (l *pool) get(hello string) *connection {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, p := range slices.Backward(l.idle) {
		if p.hello == hello {
			l.idle = slices.Delete(l.idle, i, i+1)
			p.timer.Stop() // too late does no harm: it finds p gone
			p.rested = true
			p.served = max(p.served, 1) // the message that it was made for has had its say
			p.frank = false
			return p
		}
	}
	return nil
}

// put keeps p, or closes it.
func (l *pool) put(p *connection) {
	l.mu.Lock()
	keep := !l.closed && len(l.idle) < l.max
	if keep {
		l.idle = append(l.idle, p)
		p.parked = time.Now()
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

// expire closes p if it is idle, or lets the last one stay for a while.
func (l *pool) expire(p *connection) {
	l.mu.Lock()
	i := slices.Index(l.idle, p)
	if rest := l.last - time.Since(p.parked); i >= 0 && len(l.idle) == 1 && rest > 0 {
		p.timer.Reset(rest)
		i = -1
	}
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
