package natsclient

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// attempt is one to connect, which any number wait for.
type attempt struct {
	done chan struct{}
	conn *nats.Conn
	err  error
}

// Connect returns the connection, which mends itself once it was there. Where there is none yet it waits for one, within ctx.
func (c *Client) Connect(ctx context.Context) (*nats.Conn, error) {
	c.mu.Lock()
	if c.conn != nil && !c.conn.IsClosed() {
		defer c.mu.Unlock()
		if !c.conn.IsConnected() {
			return nil, errors.Join(errors.New("not connected"), c.conn.LastError())
		}
		return c.conn, nil
	}
	if c.attempt == nil {
		c.attempt = &attempt{done: make(chan struct{})}
		go c.try(c.attempt)
	}
	a := c.attempt
	c.mu.Unlock()
	select {
	case <-a.done:
		return a.conn, a.err
	case <-ctx.Done():
		return nil, fmt.Errorf("connecting: %w", context.Cause(ctx))
	}
}

// try makes an attempt, without the lock: a server that does not answer takes its time.
func (c *Client) try(a *attempt) {
	a.conn, a.err = c.connect(c.urls, c.options...)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.attempt = nil
	switch {
	case a.err != nil:
	case c.closed: // what was under way ends with its own
		time.AfterFunc(2*c.timeout, a.conn.Close)
	default:
		c.conn = a.conn
	}
	close(a.done)
}

// Close closes the connection.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.conn != nil {
		c.conn.Close()
	}
}
