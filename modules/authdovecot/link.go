package authdovecot

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// How long after a failure to connect the next attempt is made: longer each time.
const (
	minBackoff = 50 * time.Millisecond
	maxBackoff = 2 * time.Second
)

var errClosed = errors.New("the backend is closed")

// link is a connection that is made when it is needed, and again when it broke. All requests share
// it. It ends when the last one who holds it lets go.
type link struct {
	network, address string
	protocol         protocol
	timeout          time.Duration      // to connect
	opened           func(*wire)        // is told of each new connection
	now              func() time.Time   // the clock
	ctx              context.Context    // ends with the link
	cancel           context.CancelFunc //

	mu      sync.Mutex
	holders int
	wire    *wire
	dial    *dialing
	failed  error // of the last attempt
	backoff time.Duration
	again   time.Time // not before
}

// dialing is an attempt to connect that any number wait for.
type dialing struct {
	done chan struct{}
	wire *wire
	err  error
}

// newLink returns a link that its caller holds.
func newLink(network, address string, p protocol, timeout time.Duration, opened func(*wire)) *link {
	l := &link{network: network, address: address, protocol: p, timeout: timeout, opened: opened, now: time.Now, holders: 1}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

func (l *link) hold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.holders++
}

func (l *link) letGo() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.holders--; l.holders > 0 {
		return
	}
	l.cancel()
	if l.wire != nil {
		l.wire.fail(errClosed)
	}
}

// connected returns a connection that serves, as far as can be known, within ctx. Shortly
// after a failed attempt it fails at once.
func (l *link) connected(ctx context.Context) (*wire, error) {
	l.mu.Lock()
	if l.wire != nil && !l.wire.isBroken() {
		defer l.mu.Unlock()
		return l.wire, nil
	}
	if l.dial == nil {
		if l.now().Before(l.again) {
			defer l.mu.Unlock()
			return nil, l.failed
		}
		l.dial = &dialing{done: make(chan struct{})}
		go l.connect(l.dial)
	}
	d := l.dial
	l.mu.Unlock()
	select {
	case <-d.done:
		return d.wire, d.err
	case <-ctx.Done():
		return nil, fmt.Errorf("connecting to Dovecot: %w", context.Cause(ctx))
	}
}

// connect is an attempt. It is nobody's own, so it ends with the link, not with a request.
func (l *link) connect(d *dialing) {
	ctx, cancel := context.WithTimeout(l.ctx, l.timeout)
	d.wire, d.err = openWire(ctx, l.network, l.address, l.protocol)
	cancel()
	l.mu.Lock()
	l.dial = nil
	switch {
	case d.err != nil:
		d.err = fmt.Errorf("connecting to Dovecot: %w", d.err)
		l.failed, l.backoff = d.err, min(max(2*l.backoff, minBackoff), maxBackoff)
		l.again = l.now().Add(l.backoff)
	case l.ctx.Err() != nil:
		d.wire.fail(errClosed)
		d.wire, d.err = nil, errClosed
	default:
		d.wire.patience = l.timeout / 2 // who asks may have spent the rest on what came before
		l.wire, l.backoff = d.wire, 0
	}
	l.mu.Unlock()
	if d.err == nil {
		l.opened(d.wire)
	}
	close(d.done)
}

// begin starts a request; one for a mechanism fails if Dovecot does not announce that, since it
// closes the connection, everybody's, on who asks for it.
func (l *link) begin(ctx context.Context, mechanism string) (*request, error) {
	w, err := l.connected(ctx)
	if err != nil {
		return nil, err
	}
	if mechanism != "" && !w.mechanisms[mechanism] {
		return nil, fmt.Errorf("mechanism %s is not offered by Dovecot; add it to its auth_mechanisms", mechanism)
	}
	return w.begin(), nil
}

// ask makes a request of one turn. If the connection breaks, which it does when Dovecot is
// reloaded, the question is asked once more on a new one.
func (l *link) ask(ctx context.Context, mechanism, command, parameters string) (reply, error) {
	for again := false; ; again = true {
		q, err := l.begin(ctx, mechanism)
		if err != nil {
			return reply{}, err
		}
		answer, err := q.ask(ctx, command, parameters)
		q.end()
		if err == nil {
			return answer, nil
		}
		if ctx.Err() != nil && command == "AUTH" {
			q.cancel()
		}
		if again || ctx.Err() != nil || !errors.Is(err, errBroken) {
			return reply{}, err
		}
	}
}
