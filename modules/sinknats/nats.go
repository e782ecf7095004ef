// Package sinknats publishes messages to NATS.
package sinknats

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/caddyserver/caddy/v2"
	"github.com/emersion/go-smtp"
	"github.com/nats-io/nats.go"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/envelope"
	"github.com/caddy-msa/caddy-msa/caddymsa/natsclient"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
)

func init() {
	caddy.RegisterModule(new(NATS))
}

// NATS publishes each delivery as one message: the message octet for octet behind the trace fields,
// with the envelope as JSON in the header MSA-Envelope, or as several, each to as many recipients as a stream's bound of headers
// allows. It goes to a stream of JetStream, which has to say that
// it has stored it. Nats-Msg-Id is the same in every attempt at a delivery, so that the stream keeps one
// of two within its duplicate window.
//
// A message that is larger than the server's max_payload fails for good, 552 5.3.4; all else is tried
// again.
type NATS struct {
	natsclient.Config
	// Concurrency is how many are under way at once; each is in memory as a whole. Default: 8.
	Concurrency int `json:"concurrency,omitempty"`

	client *natsclient.Client
}

// CaddyModule returns the Caddy module information.
func (*NATS) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.sinks.nats", New: func() caddy.Module { return new(NATS) }}
}

// Provision resolves the configuration. It does not connect.
func (s *NATS) Provision(ctx caddy.Context) (err error) {
	if err = conf.SetDefault(&s.Concurrency, 8, "concurrency"); err == nil {
		s.client, err = s.Config.Open("messages", terminal.Logger(ctx.Logger()))
	}
	if err != nil {
		return fmt.Errorf("nats: %w", err)
	}
	return nil
}

// Cleanup closes the connection.
func (s *NATS) Cleanup() error {
	if s.client != nil {
		s.client.Close()
	}
	return nil
}

// Destination implements queue.Destinations.
func (s *NATS) Destination(*queue.Entry, *queue.Recipient) queue.Destination {
	return queue.Destination{Name: s.client.Name(), Concurrency: s.Concurrency}
}

// Deliver publishes the message.
func (s *NATS) Deliver(ctx context.Context, d *queue.Delivery) error {
	conn, err := s.client.Connect(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("nats: %w", err)
	case err != nil:
		return queue.Unreachable(fmt.Errorf("nats: %w", err))
	}
	parts := envelope.Split(d, maxEnvelope, func(v any) int { return len(text(v)) })
	body, err := whole(conn, d, parts)
	if err != nil {
		return err
	}
	if err := d.Final(); err != nil { // what was published cannot be taken back
		return err
	}
	return envelope.DeliverAll(ctx, d, parts, func(d *queue.Delivery, v envelope.Envelope) error {
		m := nats.NewMsg(s.Subject)
		m.Data = body
		m.Header.Set("MSA-Envelope", text(v)) // JSON has no line ends, and NATS takes UTF-8
		m.Header.Set(nats.MsgIdHdr, v.Key)
		a := answer(conn)
		err := s.publish(ctx, conn, m, &a)
		if err != nil && ctx.Err() != nil {
			return fmt.Errorf("nats: %w", ctx.Err())
		}
		for _, r := range d.Recipients {
			d.Answered(r, a)
		}
		return s.outcome(conn, err)
	})
}

// maxEnvelope is what an envelope has at most, in octets. A stream takes 64 KiB of header (nats-server, processJetStreamMsg).
const maxEnvelope = 60 << 10

// text is a value as JSON.
func text(v any) string {
	text, err := json.Marshal(v)
	if err != nil { // strings, numbers and times of this era
		panic(err)
	}
	return string(text)
}

// answer is whom a message goes to.
func answer(conn *nats.Conn) queue.Answer {
	var a queue.Answer
	a.Host, a.Address, a.TLS = natsclient.Peer(conn)
	return a
}

// outcome says whom an error concerns. No connection, nobody who stores the subject, no right to it and a connection that was lost
// concern everybody; no answer in time, and what the stream says of a message, that message.
func (s *NATS) outcome(conn *nats.Conn, err error) error {
	switch {
	case err == nil:
		return nil
	case natsclient.IsTooLarge(err):
		return tooLarge()
	case natsclient.IsUnreachable(conn, err):
		return queue.Unreachable(err)
	}
	return err
}

// whole reads the whole message, which NATS bounds together with the envelope.
func whole(conn *nats.Conn, d *queue.Delivery, parts []envelope.Part) ([]byte, error) {
	limit, beside := conn.MaxPayload(), int64(0)
	for _, p := range parts {
		beside = max(beside, int64(len(text(p.Envelope)))+200)
	}
	if d.Entry.Size+beside > limit {
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
	return body, nil
}

func tooLarge() error {
	return &smtp.SMTPError{Code: 552, EnhancedCode: smtp.EnhancedCode{5, 3, 4}, Message: "Message is larger than the recipient's system takes"}
}

func (s *NATS) publish(ctx context.Context, conn *nats.Conn, m *nats.Msg, a *queue.Answer) error {
	ack, err := s.client.Publish(ctx, conn, m)
	if err != nil || ack == nil {
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
