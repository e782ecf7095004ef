package admin

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// healthTimeout bounds the questions, so that a balancer hears something: most wait no longer than 5 s or 10 s.
const healthTimeout = 4 * time.Second

// serveHealth says whether messages can be accepted: the spool takes them, and each server has a
// certificate that clients accept. What is not so is named, with status 503.
func serveHealth(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: errors.New("method not allowed; use GET")}
	}
	parent, cancel := context.WithTimeout(r.Context(), healthTimeout)
	defer cancel()
	reasons, err := withApp(parent, func(ctx context.Context, p *Part) ([]string, error) { return p.unready(ctx), nil })
	if err != nil {
		reasons = []string{err.Error()}
		if api, ok := errors.AsType[caddy.APIError](err); ok {
			reasons = []string{api.Err.Error()}
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if len(reasons) > 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	return json.NewEncoder(w).Encode(adminapi.Health{Ready: len(reasons) == 0, Reasons: reasons})
}

// unready is why messages cannot be accepted. All is asked at the same time.
func (p *Part) unready(ctx context.Context) []string {
	found := make([]string, 1+len(p.Servers))
	var asked sync.WaitGroup
	asked.Go(func() {
		if err := p.tryDraft(ctx); err != nil {
			found[0] = "spool: " + err.Error()
		}
	})
	for i := range p.Servers {
		s := &p.Servers[i]
		asked.Go(func() {
			if err := s.certificate(ctx); err != nil {
				found[1+i] = fmt.Sprintf("server %s: %v", s.Name, err)
			}
		})
	}
	asked.Wait()
	return slices.DeleteFunc(found, func(s string) bool { return s == "" })
}

// tryDraft begins a message as acceptance does, and asks the engine whether it would be committed, or at least something that it has to answer. A spool that is out of touch may
// not heed the context.
func (p *Part) tryDraft(ctx context.Context) error {
	done := make(chan error, 1)
	spool := queue.Guard(p.Spool, p.Log)
	go func() {
		draft, err := spool.Create(ctx)
		if err == nil {
			draft.Abort()
			err = p.tryCommit(ctx, spool)
		}
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return errors.New("it does not answer")
	}
}

func (p *Part) tryCommit(ctx context.Context, guarded queue.Spool) error {
	if trier, ok := p.Spool.(queue.Trier); ok {
		return queue.Guarded(p.Log, func() error { return trier.TryCommit(ctx) })
	}
	_, _, err := guarded.Size(ctx)
	return err
}

var errSeen = errors.New("the certificate was seen")

// certificate tells what is wrong with the one that clients see.
func (s *Server) certificate(ctx context.Context) error {
	leaf, err := s.leaf(ctx)
	now := time.Now()
	switch {
	case err != nil:
		return err
	case leaf == nil:
		return nil
	case now.After(leaf.NotAfter):
		return fmt.Errorf("the certificate for %s has expired on %s", s.Hostname, leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("the certificate for %s is valid from %s on", s.Hostname, leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}

// leaf is the certificate that clients see which ask for the hostname. It is nil before there is TLS.
func (s *Server) leaf(ctx context.Context) (*x509.Certificate, error) {
	return s.shownTo(ctx, new(tls.Config))
}

// shownTo has the server shake hands with itself, and returns what such a client is shown.
func (s *Server) shownTo(ctx context.Context, as *tls.Config) (leaf *x509.Certificate, err error) {
	if s.TLS == nil {
		return nil, nil
	}
	near, far := net.Pipe()
	defer near.Close()
	go func() {
		defer far.Close()
		_ = tls.Server(far, s.TLS).HandshakeContext(ctx)
	}()
	client := tls.Client(near, &tls.Config{
		ServerName:         s.Hostname,
		MaxVersion:         as.MaxVersion,
		CipherSuites:       as.CipherSuites,
		InsecureSkipVerify: true, // whoever signed it: it is ours
		VerifyPeerCertificate: func(chain [][]byte, _ [][]*x509.Certificate) (err error) {
			if leaf, err = x509.ParseCertificate(chain[0]); err != nil {
				return err
			}
			_ = near.Close() // a pipe has no buffer: both sides would wait for the other to read
			return errSeen
		},
	})
	if err := client.HandshakeContext(ctx); leaf == nil {
		return nil, fmt.Errorf("there is no certificate for %s (%w)", s.Hostname, err)
	}
	return leaf, nil
}
