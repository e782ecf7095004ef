// Package sinknats publishes messages to NATS.
package sinknats

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/emersion/go-smtp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/envelope"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
)

func init() {
	caddy.RegisterModule(new(NATS))
}

// NATS publishes each delivery as one message: the message octet for octet behind the trace fields,
// with the envelope as JSON in the header MSA-Envelope. It goes to a stream of JetStream, which has to say that
// it has stored it. Nats-Msg-Id is the same in every attempt at a delivery, so that the stream keeps one
// of two within its duplicate window.
//
// A message that is larger than the server's max_payload fails for good, 552 5.3.4; all else is tried
// again.
type NATS struct {
	// URLs of the servers of one cluster, such as tls://nats.example.org:4222. Required.
	URLs []string `json:"urls,omitempty"`
	// Subject that is published to. Required.
	Subject string `json:"subject,omitempty"`
	// Stream that must be the one that stores it. Default: whichever has the subject.
	Stream string `json:"stream,omitempty"`
	// Core publishes without JetStream. Nobody says then whether anybody has the message: without a
	// subscriber at that moment it is lost.
	Core bool `json:"core,omitempty"`
	// Credentials is a file with a JWT and its key, as nsc makes them. Default: none.
	Credentials string `json:"credentials,omitempty"`
	// Username and Password, or a Token, in the place of Credentials.
	Username string      `json:"username,omitempty"`
	Password conf.Secret `json:"password,omitempty"`
	Token    conf.Secret `json:"token,omitempty"`
	conf.TLSClient
	// Timeout is how long storing a message may take; connecting may take as long, and 5s at most. Default: 30s.
	Timeout conf.Duration `json:"timeout,omitempty"`
	// Concurrency is how many are under way at once; each is in memory as a whole. Default: 8.
	Concurrency int `json:"concurrency,omitempty"`

	log     *zap.Logger
	options []nats.Option

	mu     sync.Mutex
	conn   *nats.Conn
	closed bool
}

// CaddyModule returns the Caddy module information.
func (*NATS) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.sinks.nats", New: func() caddy.Module { return new(NATS) }}
}

// Provision resolves the configuration. It does not connect.
func (s *NATS) Provision(ctx caddy.Context) error {
	s.log = terminal.Logger(ctx.Logger())
	if err := s.provision(); err != nil {
		return fmt.Errorf("nats: %w", err)
	}
	return nil
}

// Cleanup closes the connection.
func (s *NATS) Cleanup() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.conn != nil {
		s.conn.Close()
	}
	return nil
}

// Destination implements queue.Destinations.
func (s *NATS) Destination(*queue.Entry, *queue.Recipient) queue.Destination {
	return queue.Destination{Name: strings.Join(s.URLs, ",") + " " + s.Subject, Concurrency: s.Concurrency}
}

// Deliver publishes the message.
func (s *NATS) Deliver(ctx context.Context, d *queue.Delivery) error {
	limited, cancel := context.WithTimeout(ctx, time.Duration(s.Timeout))
	defer cancel()
	conn, err := s.connect()
	if err != nil {
		return queue.Unreachable(fmt.Errorf("nats: %w", err))
	}
	m, err := s.message(conn, d)
	if err != nil {
		return err
	}
	if err := d.Final(); err != nil { // what was published cannot be taken back
		return err
	}
	a := answer(conn)
	err = s.publish(limited, conn, m, &a)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("nats: %w", ctx.Err())
	}
	for _, r := range d.Recipients {
		d.Answered(r, a)
	}
	return s.outcome(conn, err)
}

// answer is whom a message goes to.
func answer(conn *nats.Conn) queue.Answer {
	a := queue.Answer{Host: conn.ConnectedServerName(), Address: conn.ConnectedAddr()}
	if state, err := conn.TLSConnectionState(); err == nil {
		a.TLS = tls.VersionName(state.Version) + " " + tls.CipherSuiteName(state.CipherSuite)
	}
	return a
}

// tooLargeForStream is the error code of JetStream for a message over the stream's max_msg_size.
const tooLargeForStream = 10054

// outcome says whom an error concerns. No connection, nobody who stores the subject and a connection that was lost
// concern everybody; no answer in time, and what the stream says of a message, that message.
func (s *NATS) outcome(conn *nats.Conn, err error) error {
	said, _ := errors.AsType[jetstream.JetStreamError](err)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, nats.ErrMaxPayload), said != nil && said.APIError() != nil && said.APIError().ErrorCode == tooLargeForStream:
		return tooLarge()
	}
	err = fmt.Errorf("nats %s, subject %s: %w", conn.ConnectedUrlRedacted(), s.Subject, err)
	if !conn.IsConnected() { // it was lost meanwhile, and none is there in its place
		return queue.Unreachable(err)
	}
	for _, all := range []error{jetstream.ErrNoStreamResponse, nats.ErrNoResponders, nats.ErrConnectionClosed, nats.ErrDisconnected, nats.ErrReconnectBufExceeded, nats.ErrAuthorization} {
		if errors.Is(err, all) {
			return queue.Unreachable(err)
		}
	}
	return err
}

// message reads the whole message, which NATS bounds.
func (s *NATS) message(conn *nats.Conn, d *queue.Delivery) (*nats.Msg, error) {
	v := envelope.Of(d)
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	limit := conn.MaxPayload()
	if d.Entry.Size+int64(len(text))+200 > limit {
		return nil, tooLarge()
	}
	r, err := d.Open()
	if err != nil {
		return nil, fmt.Errorf("open message: %w", err)
	}
	defer r.Close()
	body, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read message: %w", err)
	}
	m := nats.NewMsg(s.Subject)
	m.Data = body
	m.Header.Set("MSA-Envelope", string(text)) // JSON has no line ends, and NATS takes UTF-8
	m.Header.Set(nats.MsgIdHdr, v.Key)
	return m, nil
}

func tooLarge() error {
	return &smtp.SMTPError{Code: 552, EnhancedCode: smtp.EnhancedCode{5, 3, 4}, Message: "Message is larger than the recipient's system takes"}
}

func (s *NATS) publish(ctx context.Context, conn *nats.Conn, m *nats.Msg, a *queue.Answer) error {
	if s.Core {
		if err := conn.PublishMsg(m); err != nil {
			return err
		}
		return conn.FlushWithContext(ctx) // the server has read it
	}
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	o := []jetstream.PublishOpt{jetstream.WithRetryAttempts(0)} // the queue tries again
	if s.Stream != "" {
		o = append(o, jetstream.WithExpectStream(s.Stream))
	}
	ack, err := js.PublishMsg(ctx, m, o...)
	if err != nil {
		return err
	}
	a.Reply, a.ID = fmt.Sprintf("stored in stream %s, sequence %d", ack.Stream, ack.Sequence), fmt.Sprintf("%s:%d", ack.Stream, ack.Sequence)
	if ack.Duplicate {
		a.Reply += ", which it was already"
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner  = (*NATS)(nil)
	_ caddy.CleanerUpper = (*NATS)(nil)
	_ queue.Destinations = (*NATS)(nil)
	_ queue.Sink         = (*NATS)(nil)
)
