// Package sinkwebhook posts messages to a web service.
package sinkwebhook

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/envelope"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
	"github.com/caddy-msa/caddy-msa/caddymsa/webcall"
)

func init() {
	caddy.RegisterModule(new(Webhook))
}

// Webhook posts each delivery to a web service. In the format raw the body is the message, of type
// message/rfc822, and the header MSA-Envelope has the envelope as JSON, with as many recipients a request as leave all
// headers together under 4 KiB; in the format multipart
// (multipart/form-data) the part envelope has it and the part message the message. The header
// Idempotency-Key is the same in every attempt at a delivery and in no other one, since one whose answer
// was lost comes again.
//
// Any status of 200 to 299 is delivered. 400, 406, 410, 413, 415 and 422 speak of the message and
// fail it for good, with the answer's first line in the bounce, also when the answer comes before the message was sent.
// Every other status is tried again, as is the lack of an answer: what speaks of this server, such as 401 or 404, is not the fault of
// the message's.
type Webhook struct {
	webcall.Config
	// Format is raw or multipart. Default: raw.
	Format string `json:"format,omitempty"`
	// Timeout is how long a request may take. Default: 1m.
	Timeout conf.Duration `json:"timeout,omitempty"`
	// Concurrency is how many requests are under way at once. Default: 8.
	Concurrency int `json:"concurrency,omitempty"`

	client *webcall.Client
}

// Formats.
const (
	formatRaw       = "raw"
	formatMultipart = "multipart"
)

// CaddyModule returns the Caddy module information.
func (*Webhook) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.sinks.webhook", New: func() caddy.Module { return new(Webhook) }}
}

// Provision resolves the configuration. It does not connect.
func (s *Webhook) Provision(ctx caddy.Context) (err error) {
	if err := s.defaults(); err != nil {
		return fmt.Errorf("webhook: %w", err)
	}
	if s.client, err = s.Config.Open(terminal.Logger(ctx.Logger()), s.Concurrency); err != nil {
		return fmt.Errorf("webhook: %w", err)
	}
	return nil
}

func (s *Webhook) defaults() error {
	switch s.Format {
	case "":
		s.Format = formatRaw
	case formatRaw, formatMultipart:
	default:
		return fmt.Errorf("format: %q is neither raw nor multipart", s.Format)
	}
	if s.Timeout < 0 || s.Concurrency < 0 {
		return errors.New("timeout and concurrency must be positive")
	}
	if s.Timeout == 0 {
		s.Timeout = conf.Duration(time.Minute)
	}
	if s.Concurrency == 0 {
		s.Concurrency = 8
	}
	return nil
}

// Cleanup closes idle connections.
func (s *Webhook) Cleanup() error {
	if s.client != nil {
		s.client.Close()
	}
	return nil
}

// Destination implements queue.Destinations.
func (s *Webhook) Destination(*queue.Entry, *queue.Recipient) queue.Destination {
	return queue.Destination{Name: s.client.Name() + pathName(s.URL), Concurrency: s.Concurrency}
}

// tokenFrom is the length from which a piece of a path may be a token that only the service and its users know.
const tokenFrom = 20

// pathName is what tells services at one host apart. Lanes are named in logs and metrics, so it has no secrets: no query, placeholders as they
// are configured, and of what may be a token a few digits of its hash.
func pathName(url string) (name string) {
	_, rest, _ := strings.Cut(url, "://")
	rest, _, _ = strings.Cut(rest, "?")
	_, path, _ := strings.Cut(rest, "/")
	for piece := range strings.SplitSeq(path, "/") {
		switch {
		case piece == "":
		case len(piece) < tokenFrom, piece[0] == '{':
			name += "/" + piece
		default:
			hash := sha256.Sum256([]byte(piece))
			name += fmt.Sprintf("/~%x", hash[:4])
		}
	}
	return name
}

// Deliver posts the message, in the format raw as often as its recipients' envelopes need.
func (s *Webhook) Deliver(ctx context.Context, d *queue.Delivery) error {
	if err := d.Final(); err != nil { // what a service has done cannot be taken back
		return err
	}
	if s.Format == formatMultipart {
		return s.post(ctx, d, envelope.Of(d))
	}
	return envelope.DeliverAll(ctx, d, s.split(d), func(d *queue.Delivery, v envelope.Envelope) error { return s.post(ctx, d, v) })
}

// Interface guards
var (
	_ caddy.Provisioner  = (*Webhook)(nil)
	_ caddy.CleanerUpper = (*Webhook)(nil)
	_ queue.Destinations = (*Webhook)(nil)
	_ queue.Sink         = (*Webhook)(nil)
)
