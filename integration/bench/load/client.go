package load

import (
	"context"
	"time"
)

// Client is one session that sends when it is told to.
type Client struct{ s *session }

// OpenClient opens it.
func OpenClient(ctx context.Context, o Options) (*Client, error) {
	o.Sessions = 1
	p, err := o.prepare()
	if err != nil {
		return nil, err
	}
	s, err := open(ctx, p, func(Phase, time.Time) {})
	if err != nil {
		return nil, err
	}
	return &Client{s}, nil
}

// Send submits one message.
func (c *Client) Send() error {
	_ = c.s.nc.SetDeadline(time.Now().Add(c.s.p.Timeout))
	return c.s.send(func(Phase, time.Time) {})
}

// Close says QUIT.
func (c *Client) Close() { _ = c.s.quit() }
