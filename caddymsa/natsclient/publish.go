package natsclient

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Publish returns when the stream, or without JetStream the server, has it. ack is nil without JetStream.
func (c *Client) Publish(ctx context.Context, conn *nats.Conn, m *nats.Msg) (ack *jetstream.PubAck, err error) {
	server := conn.ConnectedUrlRedacted()
	ack, err = c.publish(ctx, conn, m)
	if said := conn.LastError(); isDenied(said) && (err != nil || c.core) {
		// The server says so beside its answers, and without JetStream that is all it says. A new connection may have the right.
		conn.Close()
		err = said
	}
	if err != nil {
		return nil, fmt.Errorf("nats %s, subject %s: %w", server, c.subject, err)
	}
	return ack, nil
}

func isDenied(err error) bool { return errors.Is(err, nats.ErrPermissionViolation) }

func (c *Client) publish(ctx context.Context, conn *nats.Conn, m *nats.Msg) (ack *jetstream.PubAck, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	if c.core {
		if err := conn.PublishMsg(m); err != nil {
			return nil, err
		}
		return nil, conn.FlushWithContext(ctx) // the server has read it
	}
	js, err := jetstream.New(conn)
	if err != nil {
		return nil, err
	}
	o := []jetstream.PublishOpt{jetstream.WithRetryAttempts(0)} // whoever publishes tries again
	if c.stream != "" {
		o = append(o, jetstream.WithExpectStream(c.stream))
	}
	return js.PublishMsg(ctx, m, o...)
}

// tooLargeForStream is the error code of JetStream for a message over the stream's max_msg_size.
const tooLargeForStream = 10054

// IsTooLarge tells whether an error of Publish is about the message's size.
func IsTooLarge(err error) bool {
	said, ok := errors.AsType[jetstream.JetStreamError](err)
	return errors.Is(err, nats.ErrMaxPayload) || ok && said.APIError() != nil && said.APIError().ErrorCode == tooLargeForStream
}

// IsUnreachable tells whether an error of Publish concerns everybody: no connection, nobody who stores the subject, no right to it, or a
// connection that was lost.
func IsUnreachable(conn *nats.Conn, err error) bool {
	if isDenied(err) || !conn.IsConnected() { // it was lost meanwhile, and none is there in its place
		return true
	}
	for _, all := range []error{jetstream.ErrNoStreamResponse, nats.ErrNoResponders, nats.ErrConnectionClosed, nats.ErrDisconnected, nats.ErrReconnectBufExceeded, nats.ErrAuthorization} {
		if errors.Is(err, all) {
			return true
		}
	}
	return false
}
