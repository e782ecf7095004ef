package queue

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/dsn"
)

func randomID() string { return rand.Text()[:16] }

// notify stores a notification of recipients to the sender and returns its queue id
// (RFC 3464, RFC 6533).
func (a *attempt) notify(action dsn.Action, about []*Recipient, at time.Time) (string, error) {
	report := &dsn.Report{
		ID: a.q.opts.NewID(), Hostname: a.hostname, To: a.e.Sender, Date: at,
		EnvelopeID: a.e.EnvelopeID, Arrival: a.e.Accepted, UTF8: a.e.SMTPUTF8,
		Full: action == dsn.Failed && a.e.Return == "FULL", // RFC 3461 section 4.3
	}
	for _, r := range about {
		d := r.report(action, at)
		if action == dsn.Delayed {
			d.WillRetryUntil = a.e.began().Add(a.scheduleOf(r).Expire)
		}
		report.Recipients = append(report.Recipients, d)
	}
	message, err := a.lease.Open()
	if err != nil {
		return report.ID, a.store(report, at) // better without the message than not at all
	}
	defer message.Close()
	report.Message = message
	if err := a.store(report, at); err == nil || errors.Is(err, ErrClosed) {
		return report.ID, err
	}
	report.Message = nil
	return report.ID, a.store(report, at)
}

// report is what a notification says of a recipient. Only replies are shown:
// other errors name our own hosts and files.
func (r *Recipient) report(action dsn.Action, at time.Time) dsn.Recipient {
	d := dsn.Recipient{
		Original: r.ORCPT, Final: r.Complete(), Action: action, Status: r.Status, RemoteMTA: r.RemoteMTA, LastAttempt: at,
	}
	switch action {
	case dsn.Delivered, dsn.Relayed:
		d.Status = "2.0.0"
	case dsn.Delayed:
		if !strings.HasPrefix(d.Status, "4.") {
			d.Status = "4.0.0"
		}
	}
	if r.Code != 0 {
		d.Diagnostic = r.Error
	}
	return d
}

// scheduleOf is the schedule of a recipient of this attempt.
func (a *attempt) scheduleOf(r *Recipient) Schedule {
	for _, p := range a.parts {
		if slices.Contains(p.recipients, r) {
			return p.schedule
		}
	}
	return a.schedule
}

// store commits a notification to the spool.
func (a *attempt) store(report *dsn.Report, at time.Time) error {
	ctx := context.Background()
	draft, err := a.q.spool.Create(AsNotification(ctx))
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	defer draft.Abort()
	counted := &counter{w: draft}
	w := bufio.NewWriterSize(counted, 32<<10)
	body, err := dsn.Write(w, report)
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	e := &Entry{
		ID: report.ID, Server: a.e.Server, Accepted: at, Next: at, Size: counted.n, Bounce: true,
		Body: "7BIT", SMTPUTF8: body.UTF8Header, Priority: a.e.Priority,
		Recipients: []Recipient{{Address: a.e.Sender}},
	}
	if body.EightBit {
		e.Body = "8BITMIME"
	}
	if err := draft.Commit(ctx, e, nil); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
