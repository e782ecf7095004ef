// Package policyhttp asks a web service about submissions.
package policyhttp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/emersion/go-smtp"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/message"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
	"github.com/caddy-msa/caddy-msa/caddymsa/webcall"
)

func init() {
	caddy.RegisterModule(new(HTTP))
}

// HTTP asks a web service whether a submission may pass: a POST with a question in JSON, to which
// the service answers 200 with JSON. See docs/policy-http.md for both.
type HTTP struct {
	webcall.Config
	// Moments are when the service is asked: sender, recipient, message. Default: message.
	Moments []string `json:"moments,omitempty"`
	// Content sends the message along at the end of data, as the second part of a multipart/form-data
	// whose first is the question. Default: its header alone, in the question.
	Content bool `json:"content,omitempty"`
	// Timeout is how long the service may take. Default: 5s; 30s with Content.
	Timeout conf.Duration `json:"timeout,omitempty"`
	// Concurrency is how many questions may be under way; further ones wait, within Timeout.
	// Default: 64.
	Concurrency int `json:"concurrency,omitempty"`
	// OnFailure is what happens when the service does not answer, or not as it should: tempfail (451
	// 4.3.0, the default), refuse (554 5.3.0) or accept.
	OnFailure string `json:"on_failure,omitempty"`

	client *webcall.Client
	turns  chan struct{}
	log    *zap.Logger
}

// Moments and failures, as they are configured.
const (
	momentSender    = "sender"
	momentRecipient = "recipient"
	momentMessage   = "message"
)

// CaddyModule returns the Caddy module information.
func (*HTTP) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.policies.http", New: func() caddy.Module { return new(HTTP) }}
}

// Provision connects to nothing yet.
func (p *HTTP) Provision(ctx caddy.Context) (err error) {
	p.log = terminal.Logger(ctx.Logger())
	if err := p.defaults(); err != nil {
		return fmt.Errorf("http: %w", err)
	}
	p.turns = make(chan struct{}, p.Concurrency)
	if p.client, err = p.Config.Open(p.log, p.Concurrency); err != nil {
		return fmt.Errorf("http: %w", err)
	}
	return nil
}

func (p *HTTP) defaults() error {
	if len(p.Moments) == 0 {
		p.Moments = []string{momentMessage}
	}
	for _, m := range p.Moments {
		if err := conf.OneOf(m, momentSender, momentRecipient, momentMessage); err != nil {
			return fmt.Errorf("moments: %w", err)
		}
	}
	if p.Timeout < 0 || p.Concurrency < 0 {
		return errors.New("timeout and concurrency must not be negative")
	}
	if p.Timeout == 0 {
		p.Timeout = conf.Duration(5 * time.Second)
		if p.Content {
			p.Timeout = conf.Duration(30 * time.Second)
		}
	}
	if p.Concurrency == 0 {
		p.Concurrency = 64
	}
	return caddymsa.CheckOnFailure(&p.OnFailure)
}

// Cleanup closes idle connections.
func (p *HTTP) Cleanup() error {
	if p.client != nil {
		p.client.Close()
	}
	return nil
}

// CheckSender asks at MAIL.
func (p *HTTP) CheckSender(ctx context.Context, s *caddymsa.Submission) error {
	if !slices.Contains(p.Moments, momentSender) {
		return nil
	}
	_, err := p.ask(ctx, s, newQuestion(momentSender, s), nil)
	return err
}

// CheckRecipient asks at RCPT.
func (p *HTTP) CheckRecipient(ctx context.Context, s *caddymsa.Submission, r *queue.Recipient) error {
	if !slices.Contains(p.Moments, momentRecipient) {
		return nil
	}
	q := newQuestion(momentRecipient, s)
	q.Recipient = about(r)
	_, err := p.ask(ctx, s, q, nil)
	return err
}

// CheckMessage asks at the end of data.
func (p *HTTP) CheckMessage(ctx context.Context, s *caddymsa.Submission, m *caddymsa.Message) error {
	if !slices.Contains(p.Moments, momentMessage) {
		return nil
	}
	q := newQuestion(momentMessage, s)
	q.Size = m.Size
	header, err := message.HeaderOf(m)
	if errors.Is(err, message.ErrHeaderTooLong) {
		return &caddymsa.Refusal{Code: 554, Status: smtp.EnhancedCode{5, 6, 0}, Rule: "header", Text: "Header is too long", Err: err}
	}
	if err != nil {
		return err
	}
	prepended, err := message.ReadHeader(bytes.NewReader(m.Prepended()))
	if err != nil {
		return err
	}
	for _, f := range slices.Concat(prepended, header) {
		if f.Name != "" {
			q.Header = append(q.Header, [2]string{f.Name, f.Value()})
		}
	}
	var content *caddymsa.Message
	if p.Content {
		content = m
	}
	a, err := p.ask(ctx, s, q, content)
	if err != nil || a == nil {
		return err
	}
	for _, f := range slices.Backward(a.Prepend) {
		m.Prepend(fieldOf(f, s.Entry.SMTPUTF8))
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner        = (*HTTP)(nil)
	_ caddy.CleanerUpper       = (*HTTP)(nil)
	_ caddymsa.SenderPolicy    = (*HTTP)(nil)
	_ caddymsa.RecipientPolicy = (*HTTP)(nil)
	_ caddymsa.MessagePolicy   = (*HTTP)(nil)
)
