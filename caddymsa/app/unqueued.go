package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// Unqueued is the option of a route whose messages are delivered while the client waits: the
// sink's answer is the client's. Nothing is queued, so a transaction can hold but one recipient of
// such a route; for any other beside it the client gets 452 4.5.3 and sends the message again. The
// client is told at once, so there are no notifications but those of a next hop.
type Unqueued struct {
	// Timeout is how long the delivery may take; then the client gets 451 4.4.1. Default 1m: clients
	// wait 10 minutes for this reply (RFC 5321 section 4.5.3.2.6).
	Timeout conf.Duration `json:"timeout,omitempty"`
}

func (u *Unqueued) setDefaults() error {
	return conf.SetDefault(&u.Timeout, conf.Duration(time.Minute), "timeout")
}

// deliver hands the message to the sink of the one recipient.
func (t *transaction) deliver(ctx context.Context, srv *Server, header []byte) error {
	e := t.sub.Entry
	r := &e.Recipients[0]
	ctx, cancel := context.WithTimeout(ctx, time.Duration(t.direct.Unqueued.Timeout))
	defer cancel()
	d := queue.NewDelivery(e, []*queue.Recipient{r}, func() (io.ReadSeekCloser, error) {
		return newUnstored(header, t.size, t.draft.Reader)
	})
	d.Hostname = srv.Hostname
	held := &recallable{cancel: cancel}
	d.OnFinal(held.makeFinal)
	go held.watch(ctx, srv.app.delivery.interrupt)
	start := time.Now()
	route, err := t.direct.to(ctx, e, r, srv.app.Queue)
	if err == nil {
		var done func(*queue.Delivery, error)
		if done, err = t.store.queue.Visit(ctx, route, e.User); err == nil {
			err = t.direct.sink.Deliver(ctx, d)
			done(d, err)
			err = d.Outcome(r, err)
		}
	}
	outcome, recalled := queue.OutcomeOf(err), held.isRecalled()
	if recalled && outcome == queue.OutcomeDeferred {
		outcome = queue.OutcomeInterrupted
	}
	a := &queue.Attempt{Entry: e, Route: t.direct.name, Lane: route.Lane, Duration: time.Since(start),
		Results: []queue.Result{{Recipient: r, Err: err, Outcome: outcome, Answer: d.AnswerOf(r)}}}
	observer{t.store}.attempted(a, "unqueued")
	visit := visitOf(a)
	if err == nil {
		r.State = queue.Delivered
		if j := srv.app.delivery.journal(); j != nil { // there is no commit to ride on
			f := e.Fact(journal.Delivered, time.Now())
			f.Recipients, f.Count, f.Visit = addressesOf(e), 1, visit
			j.Note(append(t.facts(srv), f)...)
		}
		return nil
	}
	return &directError{visit: visit, err: err, outcome: outcome, late: ctx.Err() != nil && !recalled && !errors.Is(err, queue.ErrNoPlace)}
}

// recallable is a delivery that a reload ends, as it would wait for it otherwise, with Caddy's configuration locked. One that
// cannot be taken back goes on, or its message would be there twice when the client sends it again.
type recallable struct {
	cancel context.CancelFunc

	mu              sync.Mutex
	final, recalled bool
}

var errRecalled = errors.New("the delivery was interrupted by a reload")

// watch ends with ctx, or recalls the delivery when its configuration is left.
func (r *recallable) watch(ctx context.Context, left <-chan struct{}) {
	select {
	case <-left:
		r.recall()
	case <-ctx.Done():
	}
}

func (r *recallable) recall() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.final {
		r.recalled = true
		r.cancel()
	}
}

// makeFinal is what queue.Delivery.Final does.
func (r *recallable) makeFinal() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.recalled {
		return errRecalled
	}
	r.final = true
	return nil
}

func (r *recallable) isRecalled() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.recalled
}

// visitOf is what the journal has of the one attempt.
func visitOf(a *queue.Attempt) *journal.Visit {
	said := a.Results[0].Answer
	return &journal.Visit{Route: a.Route, Lane: a.Lane, Attempt: 1, Host: said.Host, Address: said.Address, TLS: said.TLS,
		Answer: caddymsa.ReplyLine(said.Reply), HopID: said.ID, Duration: a.Duration}
}

// directError is what a sink said to a message that was not queued.
type directError struct {
	visit   *journal.Visit
	err     error
	outcome queue.Outcome
	late    bool
}

func (e *directError) Error() string { return "unqueued delivery: " + e.err.Error() }
func (e *directError) Unwrap() error { return e.err }

// reply passes the sink's code on, and its text made harmless. What is not a reply of a next hop names
// our own hosts and files.
func (e *directError) reply() *smtp.SMTPError {
	if r, ok := errors.AsType[*smtp.SMTPError](e.err); ok && (r.Code/100 == 4 || r.Code/100 == 5) {
		said := &smtp.SMTPError{Code: r.Code, EnhancedCode: r.EnhancedCode, Message: caddymsa.ReplyLine(r.Message)}
		if said.EnhancedCode[0] != r.Code/100 {
			said.EnhancedCode = smtp.EnhancedCode{r.Code / 100, 0, 0}
		}
		switch r.Code {
		case 421: // the next hop's connection ends, not this one
			said.Code, said.EnhancedCode = 451, smtp.EnhancedCode{4, 4, 1}
		case 521: // is no reply of a submission server's (RFC 6409 section 7)
			said.Code = 554
		}
		return said
	}
	switch {
	case e.outcome == queue.OutcomeFailed:
		return errUndeliverable
	case e.late:
		return errNextHopLate
	}
	return errNextHop
}

var (
	errUndeliverable = &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 0, 0}, Message: "Message cannot be delivered"}
	errNextHop       = &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 4, 1}, Message: "Message cannot be delivered now, try again later"}
	errNextHopLate   = &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 4, 1}, Message: "Delivery takes too long, try again later"}
)

// unstored is a header and a body that may be read from its start.
type unstored struct {
	header []byte
	size   int64 // of both
	open   func() (io.ReadCloser, error)

	body io.ReadCloser
	at   int64 // of the body
	pos  int64 // of both
}

func newUnstored(header []byte, size int64, open func() (io.ReadCloser, error)) (*unstored, error) {
	body, err := open()
	if err != nil {
		return nil, err
	}
	return &unstored{header: header, size: int64(len(header)) + size, open: open, body: body}, nil
}

func (u *unstored) Read(p []byte) (int, error) {
	if u.pos < int64(len(u.header)) {
		n := copy(p, u.header[u.pos:])
		u.pos += int64(n)
		return n, nil
	}
	if err := u.wind(u.pos - int64(len(u.header))); err != nil {
		return 0, err
	}
	n, err := u.body.Read(p)
	u.at += int64(n)
	u.pos += int64(n)
	return n, err
}

// wind brings the body to a place: from its start if that lies behind.
func (u *unstored) wind(to int64) error {
	if u.at > to {
		body, err := u.open()
		if err != nil {
			return err
		}
		u.body.Close()
		u.body, u.at = body, 0
	}
	n, err := io.CopyN(io.Discard, u.body, to-u.at)
	u.at += n
	return err
}

// Seek implements io.Seeker; what there is to do for it is done when reading.
func (u *unstored) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += u.pos
	case io.SeekEnd:
		offset += u.size
	}
	if offset < 0 {
		return u.pos, fmt.Errorf("seek to %d", offset)
	}
	u.pos = offset
	return offset, nil
}

func (u *unstored) Close() error { return u.body.Close() }
