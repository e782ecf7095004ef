package app

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/caddy-msa/caddy-msa/caddymsa/running"
	"github.com/caddy-msa/caddy-msa/caddymsa/smtpd"
)

// Bounds implements running.Submitter.
func (v *visit) Bounds() smtpd.Bounds {
	if srv := v.inCharge(); srv != nil {
		b := srv.engine.Bounds()
		b.Header = srv.Limits.HeaderSize
		return b
	}
	return new(smtpd.Settings).Bounds() // what begins a message will say that there is no server
}

// Scratch implements running.Submitter by a message that will not be committed: it is bounded, and cleared away
// after a crash, as messages are that do not come whole.
func (v *visit) Scratch(ctx context.Context) (s running.Scratch, err error) {
	defer v.outlive(&err)
	d, err := v.openScratch(ctx)
	if errors.Is(err, errFinished) { // another configuration took over at this moment
		if d, err = v.openScratch(ctx); errors.Is(err, errFinished) {
			err = toReply(err)
		}
	}
	if err != nil {
		return nil, err
	}
	return &scratch{d, v}, nil
}

func (v *visit) openScratch(ctx context.Context) (*heldDraft, error) {
	srv, call, leave, err := v.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	calling(call, "spool", "Create")
	d, err := srv.app.delivery.store.create(call)
	if err != nil && !errors.Is(err, errFinished) {
		return nil, v.refuse(srv, refusal{moment: "DATA"}, err)
	}
	return d, err
}

// scratch is octets in a spool, of which no panic ends the process.
type scratch struct {
	d *heldDraft
	v *visit
}

// Write implements running.Scratch.
func (s *scratch) Write(p []byte) (n int, err error) {
	defer s.v.outlive(&err)
	if n, err = s.d.Write(p); err != nil {
		return n, s.failed(err)
	}
	return n, nil
}

// Reader implements running.Scratch.
func (s *scratch) Reader() (r io.ReadCloser, err error) {
	defer s.v.outlive(&err)
	if r, err = s.d.Reader(); err != nil {
		return nil, s.failed(err)
	}
	return r, nil
}

func (s *scratch) failed(err error) error {
	srv := s.v.inCharge()
	if srv == nil {
		return errGone
	}
	return s.v.refuse(srv, refusal{moment: "DATA"}, fmt.Errorf("spool: %w", err))
}

// Abort implements running.Scratch.
func (s *scratch) Abort() {
	var err error
	defer s.v.outlive(&err)
	s.d.Abort()
}

// Interface guard
var _ running.Scratch = (*scratch)(nil)
