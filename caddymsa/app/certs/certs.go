// Package certs has the server certificates that are files: read, watched, chosen by name, and warned of.
package certs

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/watch"
)

// Files are a certificate chain and its key, in PEM.
type Files struct {
	// Certificate is the path of the chain, the server's own certificate first.
	Certificate string `json:"certificate,omitempty"`
	// Key is the path of the private key.
	Key string `json:"key,omitempty"`
}

// Set are a server's certificates, which are read again when their files change.
type Set struct {
	files       []Files
	server      string
	defaultName string
	log         *zap.Logger
	reading     sync.Mutex // so that the older of two readings does not win
	certs       atomic.Pointer[[]*tls.Certificate]
	watch       io.Closer
	stop        chan struct{} // ends the daily check
}

// FileError is what is wrong with one of the certificates.
type FileError struct {
	Index int // of Files
	error
}

func (e FileError) Unwrap() error { return e.error }

// Load reads the files and begins to watch them. defaultName is what a client without SNI is taken to ask for; server is
// the server's name, for metrics.
func Load(files []Files, server, defaultName string, log *zap.Logger) (*Set, error) {
	c := &Set{server: server, defaultName: defaultName, log: log, stop: make(chan struct{})}
	var paths []string
	for i, f := range files {
		var err error
		if f.Certificate, err = conf.Expand(f.Certificate); err != nil {
			return nil, FileError{i, err}
		}
		if f.Key, err = conf.Expand(f.Key); err != nil {
			return nil, FileError{i, fmt.Errorf("key: %w", err)}
		}
		if f.Certificate == "" || f.Key == "" {
			return nil, FileError{i, errors.New("certificate and key are both required")}
		}
		c.files = append(c.files, f)
		paths = append(paths, f.Certificate, f.Key)
	}
	var err error
	if c.watch, err = watch.Files(paths, log, c.reload); err != nil {
		return nil, err
	}
	if err := c.load(); err != nil { // after the watch has begun, so that no change is missed
		_ = c.watch.Close()
		return nil, err
	}
	c.check(time.Now())
	c.checkChains()
	go c.checkDaily(c.stop)
	c.publish()
	return c, nil
}

func (c *Set) load() error {
	c.reading.Lock()
	defer c.reading.Unlock()
	certs := make([]*tls.Certificate, len(c.files))
	for i, f := range c.files {
		cert, err := conf.KeyPair(f.Certificate, f.Key)
		if err != nil {
			return FileError{i, fmt.Errorf("certificate %s with key %s: %w", f.Certificate, f.Key, err)}
		}
		certs[i] = cert
	}
	c.certs.Store(&certs)
	return nil
}

// reload keeps the old certificates when the new ones do not load.
func (c *Set) reload() {
	if err := c.load(); err != nil {
		c.log.Error("certificate files changed but cannot be used; the old certificate stays", zap.Error(err))
		return
	}
	c.log.Info("certificate files were read again", zap.Int("certificates", len(c.files)))
	c.check(time.Now())
	c.checkChains()
}

// Get returns the certificate for the name that the client asks for, the
// hostname's for a client that asks for none or for another, or nil.
func (c *Set) Get(hello *tls.ClientHelloInfo) *tls.Certificate {
	certs := *c.certs.Load()
	asked := *hello
	for _, name := range []string{hello.ServerName, c.defaultName} {
		asked.ServerName = name
		for i := range certs {
			if name != "" && asked.SupportsCertificate(certs[i]) == nil {
				return certs[i]
			}
		}
	}
	return certs[0] // it names something else: the client will say so better than a failed handshake
}

// Close ends the watch and the check.
func (c *Set) Close() error {
	c.unpublish()
	close(c.stop)
	return c.watch.Close()
}
