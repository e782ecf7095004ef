package spoolpostgres

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/objectstore"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

const (
	defaultOver       = 128 << 10
	defaultPutTimeout = time.Minute
)

// Bodies says where large messages lie that the database is spared.
type Bodies struct {
	objectstore.Bucket
	// Over is the size in octets above which a message lies in the bucket. Default: 128 KiB.
	Over int64 `json:"over,omitempty"`
	// Timeout is how long it may take to store a message there. Default: 1m.
	Timeout conf.Duration `json:"timeout,omitempty"`
}

func (b *Bodies) provision(log *zap.Logger, connections int) error {
	if b.Over < 0 || b.Timeout < 0 {
		return errors.New("over and timeout must be positive")
	}
	if b.Over == 0 {
		b.Over = defaultOver
	}
	if b.Timeout == 0 {
		b.Timeout = conf.Duration(defaultPutTimeout)
	}
	if time.Duration(b.Timeout) > orphanAge/2 {
		return fmt.Errorf("timeout %s is too long: what is stored for a day without being a message is removed; give %s or less", time.Duration(b.Timeout), orphanAge/2)
	}
	return b.Bucket.Provision(log, connections)
}

func (b *Bodies) unmarshalCaddyfile(d *caddyfile.Dispenser) error {
	var kind string
	if !d.Args(&kind, &b.Endpoint, &b.Name) || kind != "s3" {
		return d.Err("bodies takes s3 with an endpoint and a bucket, as in bodies s3 https://s3.eu-central-1.amazonaws.com queue")
	}
	return conf.Block(d, append(b.Settings(), conf.Size("over", &b.Over), conf.Value("timeout", &b.Timeout))...)
}

// put stores the draft as an object, if it is one of those; it does so before the transaction that makes it a message.
func (d *draft) put(ctx context.Context, a *queue.Accept) error {
	b := d.s.bodies
	size := int64(len(a.Header)) + d.size
	if b == nil || size <= b.Over || d.object != "" || d.err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(b.Timeout))
	defer cancel()
	name := d.s.cluster + "/" + a.Entry.ID + "-" + rand.Text()
	if _, err := b.Put(ctx, name, "message/rfc822", io.MultiReader(bytes.NewReader(a.Header), d.body()), size); err != nil {
		return fmt.Errorf("bodies s3: %w", err)
	}
	d.object = name
	return nil
}

// unput removes the object of a draft that certainly did not become a message. What is not removed now is an orphan.
func (d *draft) unput() {
	if d.object == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = d.s.bodies.Remove(ctx, d.object)
	d.object = ""
}

var errNoBodies = errors.New("the message is in S3, and this node has no setting bodies s3")

// object opens a message that is an object.
func (s *Store) object(ctx context.Context, name string) (io.ReadSeekCloser, error) {
	if s.bodies == nil {
		return nil, errNoBodies
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r, err := s.bodies.Open(ctx, name)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("bodies s3: %w", err)
	}
	o := &object{r: r, cancel: cancel}
	return o, nil
}

// object is a message that is read from the store as it is needed. Its reads heed Close.
type object struct {
	r      io.ReadSeekCloser
	cancel context.CancelFunc
}

func (o *object) Read(p []byte) (int, error) {
	n, err := o.r.Read(p)
	return n, objectError(err)
}

func (o *object) Seek(offset int64, whence int) (int64, error) {
	n, err := o.r.Seek(offset, whence)
	return n, objectError(err)
}

func (o *object) Close() error {
	o.cancel()
	_ = o.r.Close()
	return nil
}

func objectError(err error) error {
	switch {
	case err == nil, errors.Is(err, io.EOF):
		return err
	case objectstore.IsMissing(err):
		return queue.ErrNotFound
	}
	return fmt.Errorf("bodies s3: %w", err)
}
