// Package objectstore speaks to a bucket in S3 or a store like it, with the settings that all who use one have.
package objectstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/s3utils"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

// Bucket is one that is there already.
type Bucket struct {
	// Endpoint of the store, such as https://s3.eu-central-1.amazonaws.com. Required: https, or http on
	// this machine.
	Endpoint string `json:"endpoint,omitempty"`
	// Name of the bucket. Required.
	Name string `json:"bucket,omitempty"`
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

	client      *minio.Client
	transport   *http.Transport
	authorities *conf.Authorities // of the transport's pool
	prefix      string
}

// Settings are a bucket's, within a Caddyfile block that its endpoint and name stand before.
func (b *Bucket) Settings() []conf.Setting {
	return []conf.Setting{
		conf.Text("prefix", &b.Prefix),
		conf.Text("region", &b.Region),
		conf.Text("access_key", &b.AccessKey),
		conf.Value("secret_key", &b.SecretKey),
		conf.Flag("path_style", &b.PathStyle),
		conf.List("ca", &b.CA),
		conf.Flag("insecure_plaintext", &b.InsecurePlaintext),
	}
}

// Provision resolves the settings, for so many connections at once. It does not connect.
func (b *Bucket) Provision(log *zap.Logger, connections int) error {
	if err := conf.ExpandAll(conf.Place("endpoint", &b.Endpoint), conf.Place("bucket", &b.Name), conf.Place("region", &b.Region)); err != nil {
		return err
	}
	u, err := url.Parse(b.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || strings.Trim(u.Path, "/") != "" {
		return errors.New("endpoint: a URL without a path is required, such as https://s3.eu-central-1.amazonaws.com")
	}
	if u.User != nil {
		return errors.New("endpoint: set access_key and secret_key, which are not logged")
	}
	if u.Scheme == "http" && !b.InsecurePlaintext && !conf.IsLoopback(u.Hostname()) {
		return fmt.Errorf("endpoint: messages would go to %s in clear; use https, or insecure_plaintext", u.Host)
	}
	if b.Name == "" {
		return errors.New("a bucket is required")
	}
	if err := s3utils.CheckValidBucketName(b.Name); err != nil {
		return fmt.Errorf("bucket: %q is not the name of one: it has 3 to 63 letters, digits, hyphens and dots, such as declarations", b.Name)
	}
	if (b.AccessKey == "") != (b.SecretKey == "") {
		return errors.New("access_key and secret_key go together")
	}
	repl := caddy.NewReplacer()
	if b.prefix, err = conf.Expand(b.Prefix); err != nil {
		return fmt.Errorf("prefix: %w", err)
	}
	o := &minio.Options{Secure: u.Scheme == "https", Region: b.Region, MaxRetries: 1} // whoever uses it tries again
	if b.PathStyle {
		o.BucketLookup = minio.BucketLookupPath
	}
	if o.Creds, err = b.credentials(log, repl); err != nil {
		return err
	}
	if b.authorities, err = conf.Roots(b.CA); err != nil {
		return err
	}
	dial := dialer((&net.Dialer{Timeout: maxConnect}).DialContext, stall)
	b.transport = &http.Transport{
		DialContext: heard(dial), DialTLSContext: heard(secured(dial, &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: b.authorities.CertPool()})), ResponseHeaderTimeout: time.Minute,
		MaxIdleConnsPerHost: connections, IdleConnTimeout: time.Minute, DisableCompression: true, MaxResponseHeaderBytes: 64 << 10,
	}
	o.Transport = b.transport
	b.client, err = minio.New(u.Host, o)
	return err
}

func (b *Bucket) credentials(log *zap.Logger, repl *caddy.Replacer) (*credentials.Credentials, error) {
	if b.AccessKey == "" {
		return credentials.New(&anyAccount{credentials.Chain{Providers: []credentials.Provider{&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}, &credentials.IAM{}}}}), nil
	}
	id, err := conf.Expand(b.AccessKey)
	if err != nil {
		return nil, fmt.Errorf("access_key: %w", err)
	}
	key, err := b.SecretKey.Resolve("secret_key", log)
	if err != nil {
		return nil, err
	}
	return credentials.NewStaticV4(id, key.Value(), ""), nil
}

// anyAccount is that of the first provider which has one. With none the chain would go on without an account: messages would be sent unsigned,
// and the store say of each that access is denied.
type anyAccount struct{ credentials.Chain }

var errNoAccount = errors.New("there is no account to log in with: set access_key and secret_key, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment; " +
	"neither these, nor ~/.aws/credentials, nor the machine's role has one")

// RetrieveWithCredContext implements credentials.Provider.
func (a *anyAccount) RetrieveWithCredContext(c *credentials.CredContext) (credentials.Value, error) {
	v, err := a.Chain.RetrieveWithCredContext(c)
	if err == nil && v.SignerType.IsAnonymous() {
		err = errNoAccount
	}
	return v, err
}

// Close closes idle connections.
func (b *Bucket) Close() {
	if b.transport != nil {
		b.transport.CloseIdleConnections()
	}
}

// Host of the store.
func (b *Bucket) Host() string { return b.client.EndpointURL().Hostname() }

// Put stores an object under the prefix, whole or not at all.
func (b *Bucket) Put(ctx context.Context, name, kind string, r io.Reader, size int64) (minio.UploadInfo, error) {
	return b.client.PutObject(ctx, b.Name, b.prefix+name, r, size, minio.PutObjectOptions{
		ContentType: kind, DisableMultipart: true, // which would hold parts in memory
	})
}

// Lock keeps an object from being changed or deleted (S3 Object Lock), where its bucket has that on.
type Lock struct {
	Mode      minio.RetentionMode // empty: as the bucket says
	Until     time.Time
	LegalHold bool
}

// PutLocked is Put with a lock. It reads twice: the store wants to know what to expect.
func (b *Bucket) PutLocked(ctx context.Context, name, kind string, r io.ReadSeeker, size int64, lock Lock) (minio.UploadInfo, error) {
	o := minio.PutObjectOptions{ContentType: kind, DisableMultipart: true, SendContentMd5: true, Mode: lock.Mode, RetainUntilDate: lock.Until}
	if lock.LegalHold {
		o.LegalHold = minio.LegalHoldEnabled
	}
	return b.client.PutObject(ctx, b.Name, b.prefix+name, &readerAt{ReadSeeker: r}, size, o)
}

// readerAt makes a reader one that is read twice and not held in memory.
type readerAt struct{ io.ReadSeeker }

// ReadAt implements io.ReaderAt, for one caller at a time.
func (r *readerAt) ReadAt(p []byte, offset int64) (int, error) {
	if at, err := r.Seek(0, io.SeekCurrent); err != nil || at != offset {
		if _, err = r.Seek(offset, io.SeekStart); err != nil {
			return 0, err
		}
	}
	n, err := io.ReadFull(r.ReadSeeker, p)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n, err
}

// Open reads an object. ctx must last until it is closed.
func (b *Bucket) Open(ctx context.Context, name string) (io.ReadSeekCloser, error) {
	return b.client.GetObject(ctx, b.Name, b.prefix+name, minio.GetObjectOptions{})
}

// Remove removes an object; one that is not there is no error.
func (b *Bucket) Remove(ctx context.Context, name string) error {
	return b.client.RemoveObject(ctx, b.Name, b.prefix+name, minio.RemoveObjectOptions{})
}

// Each calls yield for the objects whose names begin so, until it returns an error.
func (b *Bucket) Each(ctx context.Context, begin string, yield func(name string, modified time.Time) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for o := range b.client.ListObjectsIter(ctx, b.Name, minio.ListObjectsOptions{Prefix: b.prefix + begin, Recursive: true}) {
		if o.Err != nil {
			return o.Err
		}
		if o.LastModified.IsZero() {
			continue // a common prefix and no object
		}
		if err := yield(strings.TrimPrefix(o.Key, b.prefix), o.LastModified); err != nil {
			return err
		}
	}
	return nil
}

// IsMissing tells whether an error says that there is no such object.
func IsMissing(err error) bool { return minio.ToErrorResponse(err).Code == minio.NoSuchKey }

// IsDenied tells whether an error says that the account may not do what was asked.
func IsDenied(err error) bool { return minio.ToErrorResponse(err).Code == minio.AccessDenied }

// Reach asks for the name of an object, with the account's own rights. Where those do not go so far, the error IsDenied: HEAD, which needs
// the same right, would not say whether it is that or the account.
func (b *Bucket) Reach(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for o := range b.client.ListObjectsIter(ctx, b.Name, minio.ListObjectsOptions{Prefix: b.prefix, Recursive: true, MaxKeys: 1}) {
		return o.Err
	}
	return nil
}
