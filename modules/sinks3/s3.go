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
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/emersion/go-smtp"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/envelope"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
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
	// Endpoint of the store, such as https://s3.eu-central-1.amazonaws.com. Required: https, or http on
	// this machine.
	Endpoint string `json:"endpoint,omitempty"`
	// Bucket that is there. Required.
	Bucket string `json:"bucket,omitempty"`
	// Prefix of the objects' names, such as "incoming/". Placeholders ({env.*}) are resolved when the config is
	// loaded. Default: none.
	Prefix string `json:"prefix,omitempty"`
	// Region of the bucket. Default: as the endpoint says, or us-east-1.
	Region string `json:"region,omitempty"`
	// AccessKey and SecretKey of the account. Default: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of the
	// environment, the file ~/.aws/credentials, or the machine's role.
	AccessKey string      `json:"access_key,omitempty"`
	SecretKey conf.Secret `json:"secret_key,omitempty"`
	// PathStyle has the bucket in the path and not in the host name, as most stores other than AWS want it.
	PathStyle bool `json:"path_style,omitempty"`
	// CA are PEM files with the CA certificates to trust in place of the system's.
	CA []string `json:"ca,omitempty"`
	// InsecurePlaintext allows http to another machine.
	InsecurePlaintext bool `json:"insecure_plaintext,omitempty"`
	// Timeout is how long a message may take. Default: 5m.
	Timeout conf.Duration `json:"timeout,omitempty"`
	// Concurrency is how many are stored at once. Default: 8.
	Concurrency int `json:"concurrency,omitempty"`

	client      *minio.Client
	transport   *http.Transport
	authorities *conf.Authorities // kept with the transport, which uses them
	prefix      string
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

func (s *S3) provision(ctx caddy.Context) (err error) {
	u, err := url.Parse(s.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || strings.Trim(u.Path, "/") != "" {
		return errors.New("endpoint: a URL without a path is required, such as https://s3.eu-central-1.amazonaws.com")
	}
	if u.Scheme == "http" && !s.InsecurePlaintext && !conf.IsLoopback(u.Hostname()) {
		return fmt.Errorf("endpoint: messages would go to %s in clear; use https, or insecure_plaintext", u.Host)
	}
	if s.Bucket == "" {
		return errors.New("a bucket is required")
	}
	if (s.AccessKey == "") != (s.SecretKey == "") {
		return errors.New("access_key and secret_key go together")
	}
	if s.Timeout < 0 || s.Concurrency < 0 {
		return errors.New("timeout and concurrency must be positive")
	}
	if s.Timeout == 0 {
		s.Timeout = conf.Duration(5 * time.Minute)
	}
	if s.Concurrency == 0 {
		s.Concurrency = 8
	}
	repl := caddy.NewReplacer()
	if s.prefix, err = repl.ReplaceOrErr(s.Prefix, true, true); err != nil {
		return fmt.Errorf("prefix: %w", err)
	}
	o := &minio.Options{Secure: u.Scheme == "https", Region: s.Region, MaxRetries: 1} // the queue tries again
	if s.PathStyle {
		o.BucketLookup = minio.BucketLookupPath
	}
	if o.Creds, err = s.credentials(ctx, repl); err != nil {
		return err
	}
	if s.transport, err = s.newTransport(); err != nil {
		return err
	}
	o.Transport = s.transport
	s.client, err = minio.New(u.Host, o)
	return err
}

func (s *S3) credentials(ctx caddy.Context, repl *caddy.Replacer) (*credentials.Credentials, error) {
	if s.AccessKey == "" {
		return credentials.NewChainCredentials([]credentials.Provider{&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}, &credentials.IAM{}}), nil
	}
	id, err := repl.ReplaceOrErr(s.AccessKey, true, true)
	if err != nil {
		return nil, fmt.Errorf("access_key: %w", err)
	}
	key, err := s.SecretKey.Resolve("secret_key", ctx.Logger())
	if err != nil {
		return nil, err
	}
	return credentials.NewStaticV4(id, key.Value(), ""), nil
}

func (s *S3) newTransport() (*http.Transport, error) {
	var err error
	if s.authorities, err = conf.Roots(s.CA); err != nil {
		return nil, err
	}
	t := &http.Transport{
		DialContext:     (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: s.authorities.CertPool()}, TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: time.Minute,
		MaxIdleConnsPerHost: s.Concurrency, IdleConnTimeout: time.Minute, DisableCompression: true, MaxResponseHeaderBytes: 64 << 10,
	}
	return t, nil
}

// Cleanup closes idle connections.
func (s *S3) Cleanup() error {
	if s.transport != nil {
		s.transport.CloseIdleConnections()
	}
	return nil
}

// Destination implements queue.Destinations.
func (s *S3) Destination(*queue.Entry, *queue.Recipient) queue.Destination {
	return queue.Destination{Name: s.Endpoint + "/" + s.Bucket, Concurrency: s.Concurrency}
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
	a := queue.Answer{Reply: fmt.Sprintf("stored as %s/%s, ETag %s", s.Bucket, stored.Key, stored.ETag), ID: stored.VersionID, Host: s.client.EndpointURL().Hostname()}
	if a.ID == "" {
		a.ID = stored.ETag
	}
	for _, r := range d.Recipients {
		d.Answered(r, a)
	}
	return nil
}

func (s *S3) put(ctx context.Context, name, kind string, r io.Reader, size int64) (minio.UploadInfo, error) {
	return s.client.PutObject(ctx, s.Bucket, s.prefix+name, r, size, minio.PutObjectOptions{
		ContentType: kind, DisableMultipart: true, // which would hold parts in memory
	})
}

// aboutStore are the answers that speak of the bucket, the account or the store as a whole. What else the store says is said of this
// object, and holds up no other.
var aboutStore = []string{
	minio.NoSuchBucket, minio.AllAccessDisabled, "ServiceUnavailable", "SlowDown", "SlowDownWrite", "XMinioServerNotInitialized", minio.SignatureDoesNotMatch, minio.InvalidAccessKeyID,
	"InvalidToken", "ExpiredToken", "TokenRefreshRequired", "RequestTimeTooSkewed", "AuthorizationHeaderMalformed", "AccountProblem", "NotSignedUp", "QuotaExceeded", "XMinioStorageFull",
}

func (s *S3) outcome(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil || errors.Is(err, errMessage) {
		return err
	}
	answer := minio.ToErrorResponse(err)
	if answer.Code == minio.EntityTooLarge {
		return &smtp.SMTPError{Code: 552, EnhancedCode: smtp.EnhancedCode{5, 3, 4}, Message: "Message is larger than the recipient's system takes"}
	}
	err = fmt.Errorf("s3 %s/%s: %w", s.Endpoint, s.Bucket, err)
	if dial, ok := errors.AsType[*net.OpError](err); ok && dial.Op == "dial" || isTLS(err) || slices.Contains(aboutStore, answer.Code) {
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
type messageReader struct{ r io.Reader }

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
