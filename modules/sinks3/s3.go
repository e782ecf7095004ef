// Package sinks3 stores messages as objects.
package sinks3

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/emersion/go-smtp"
	"github.com/minio/minio-go/v7"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/envelope"
	"github.com/caddy-msa/caddy-msa/caddymsa/objectstore"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
)

func init() {
	caddy.RegisterModule(new(S3))
}

// S3 stores each delivery as two objects of a bucket in S3 or a store like it: <prefix><key>.eml, the
// message octet for octet behind the trace fields, and then <prefix><key>.json, its envelope: who
// sees the second finds the first. The key is the same in every attempt at a delivery, so that one that
// was not recorded writes over itself.
//
// A message that is larger than the store takes fails for good, 552 5.3.4; all else is tried again. What the store says of one
// object, or that a connection was lost, holds up no other.
type S3 struct {
	objectstore.Bucket
	// Timeout is how long a message may take. Default: 5m.
	Timeout conf.Duration `json:"timeout,omitempty"`
	// Concurrency is how many are stored at once. Default: 8.
	Concurrency int `json:"concurrency,omitempty"`
	// Retain keeps both objects from being changed or deleted for a time (S3 Object Lock), which the bucket must have
	// on. Default: what the bucket says.
	Retain *Retention `json:"retain,omitempty"`
	// LegalHold does so until somebody takes the hold away.
	LegalHold bool `json:"legal_hold,omitempty"`
}

// Retention is for how long an object is kept.
type Retention struct {
	// Mode is "governance", which the store lets some accounts override, or "compliance", which nobody does. Required.
	Mode string `json:"mode,omitempty"`
	// For is how long, from the moment at which it is stored. Required.
	For conf.Duration `json:"for,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*S3) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.sinks.s3", New: func() caddy.Module { return new(S3) }}
}

// Provision resolves the configuration. It does not connect.
func (s *S3) Provision(ctx caddy.Context) error {
	if err := s.provision(ctx); err != nil {
		return fmt.Errorf("s3: %w", err)
	}
	return nil
}

func (s *S3) provision(ctx caddy.Context) error {
	if s.Timeout < 0 || s.Concurrency < 0 {
		return errors.New("timeout and concurrency must be positive")
	}
	if s.Timeout == 0 {
		s.Timeout = conf.Duration(5 * time.Minute)
	}
	if s.Concurrency == 0 {
		s.Concurrency = 8
	}
	if r := s.Retain; r != nil && (r.Mode != "governance" && r.Mode != "compliance" || r.For <= 0) {
		return errors.New("retain: takes governance or compliance and a duration, as in: retain compliance 3650d")
	}
	return s.Bucket.Provision(terminal.Logger(ctx.Logger()), s.Concurrency)
}

// Cleanup closes idle connections.
func (s *S3) Cleanup() error {
	s.Close()
	return nil
}

// Destination implements queue.Destinations.
func (s *S3) Destination(*queue.Entry, *queue.Recipient) queue.Destination {
	return queue.Destination{Name: s.Endpoint + "/" + s.Name, Concurrency: s.Concurrency}
}

// errMessage says that the message cannot be read, which is not the store's fault.
var errMessage = errors.New("read message")

// Deliver stores both objects.
func (s *S3) Deliver(ctx context.Context, d *queue.Delivery) error {
	timeout := time.Duration(s.Timeout)
	limited, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("not stored within %v", timeout))
	defer cancel()
	m, err := d.Open()
	if err != nil {
		return fmt.Errorf("%w: %w", errMessage, err)
	}
	defer m.Close()
	v := envelope.Of(d)
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	stored, err := s.put(limited, v.Key+".eml", "message/rfc822", messageReader{m}, d.Entry.Size)
	if err != nil {
		return s.outcome(ctx, err)
	}
	if err := d.Final(); err != nil { // who sees the envelope takes the message
		return err
	}
	if _, err := s.put(limited, v.Key+".json", "application/json", bytes.NewReader(text), int64(len(text))); err != nil {
		return s.outcome(ctx, err)
	}
	a := queue.Answer{Reply: fmt.Sprintf("stored as %s/%s, ETag %s", s.Name, stored.Key, stored.ETag), ID: stored.VersionID, Host: s.Host()}
	if a.ID == "" {
		a.ID = stored.ETag
	}
	for _, r := range d.Recipients {
		d.Answered(r, a)
	}
	return nil
}

// put stores an object.
func (s *S3) put(ctx context.Context, name, kind string, r io.ReadSeeker, size int64) (minio.UploadInfo, error) {
	var connected atomic.Bool
	stored, err := s.store(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }}), name, kind, r, size)
	if err != nil && !connected.Load() && minio.ToErrorResponse(err).Code == "" {
		err = &notConnected{err}
	}
	return stored, err
}

// notConnected is an error from before there was a connection with TLS: nothing of the message is at fault.
type notConnected struct{ error }

func (n *notConnected) Unwrap() error { return n.error }

// store stores an object, locked if the configuration says so.
func (s *S3) store(ctx context.Context, name, kind string, r io.ReadSeeker, size int64) (minio.UploadInfo, error) {
	if !s.locks() {
		return s.Put(ctx, name, kind, r, size)
	}
	lock := objectstore.Lock{LegalHold: s.LegalHold}
	if s.Retain != nil {
		lock.Mode, lock.Until = minio.RetentionMode(strings.ToUpper(s.Retain.Mode)), time.Now().Add(time.Duration(s.Retain.For))
	}
	return s.PutLocked(ctx, name, kind, r, size, lock)
}

func (s *S3) locks() bool { return s.Retain != nil || s.LegalHold }

// aboutStore are the answers that speak of the bucket, the account or the store as a whole. What else the store says is said of this
// object, and holds up no other.
var aboutStore = []string{
	minio.NoSuchBucket, minio.AllAccessDisabled, "ServiceUnavailable", "SlowDown", "SlowDownWrite", "XMinioServerNotInitialized", minio.SignatureDoesNotMatch, minio.InvalidAccessKeyID,
	"InvalidToken", "ExpiredToken", "TokenRefreshRequired", "RequestTimeTooSkewed", "AuthorizationHeaderMalformed", "AccountProblem", "NotSignedUp", "QuotaExceeded", "XMinioStorageFull",
	"ObjectLockConfigurationNotFoundError",
}

// storeStatuses speak of the store, or of what stands before it, whatever the text.
var storeStatuses = []int{http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout}

func (s *S3) outcome(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil || errors.Is(err, errMessage) {
		return err
	}
	_, away := errors.AsType[*notConnected](err)
	answer := minio.ToErrorResponse(err)
	if answer.Code == minio.EntityTooLarge || answer.StatusCode == http.StatusRequestEntityTooLarge { // the store, or what stands before it
		return &smtp.SMTPError{Code: 552, EnhancedCode: smtp.EnhancedCode{5, 3, 4}, Message: "Message is larger than the recipient's system takes"}
	}
	if answer.Code != "" { // which the error leaves out
		err = fmt.Errorf("%s: %w", answer.Code, err)
	}
	err = fmt.Errorf("s3 %s/%s: %w", s.Endpoint, s.Name, err)
	if dial, ok := errors.AsType[*net.OpError](err); away || ok && dial.Op == "dial" || isTLS(err) || slices.Contains(aboutStore, answer.Code) || slices.Contains(storeStatuses, answer.StatusCode) ||
		s.locks() && answer.Code == "InvalidRequest" { // the bucket has no object lock
		return queue.Unreachable(err)
	}
	return err
}

// isTLS tells whether the store's certificate is at fault.
func isTLS(err error) bool {
	_, verify := errors.AsType[*tls.CertificateVerificationError](err)
	_, record := errors.AsType[tls.RecordHeaderError](err)
	_, alert := errors.AsType[tls.AlertError](err)
	return verify || record || alert
}

// messageReader marks errors of the message's.
type messageReader struct{ r io.ReadSeeker }

// Seek implements io.Seeker.
func (m messageReader) Seek(offset int64, whence int) (int64, error) { return m.r.Seek(offset, whence) }

func (m messageReader) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("%w: %w", errMessage, err)
	}
	return n, err
}

// Interface guards
var (
	_ caddy.Provisioner  = (*S3)(nil)
	_ caddy.CleanerUpper = (*S3)(nil)
	_ queue.Destinations = (*S3)(nil)
	_ queue.Sink         = (*S3)(nil)
)
