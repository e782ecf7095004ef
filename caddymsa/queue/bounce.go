package queue

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/dsn"
)

func randomID() string { return rand.Text()[:16] }

// bounce stores a notification of failed recipients to the sender and returns
// its queue id (RFC 3464, RFC 6533).
func (a *attempt) bounce(failed []*Recipient, at time.Time) (string, error) {
	report := &dsn.Report{
		ID: a.q.opts.NewID(), Hostname: a.hostname, To: a.e.Sender, Date: at,
		EnvelopeID: a.e.EnvelopeID, Arrival: a.e.Accepted, UTF8: a.e.SMTPUTF8, Full: a.e.Return == "FULL",
	}
	for _, r := range failed {
		report.Recipients = append(report.Recipients, r.report(at))
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
func (r *Recipient) report(at time.Time) dsn.Recipient {
	d := dsn.Recipient{
		Original: r.ORCPT, Final: r.Complete(), Action: dsn.Failed, Status: r.Status, RemoteMTA: r.RemoteMTA, LastAttempt: at,
	}
	if r.Code != 0 {
		d.Diagnostic = r.Error
	}
	return d
}

// store commits a notification to the spool.
func (a *attempt) store(report *dsn.Report, at time.Time) error {
	ctx := context.Background()
	draft, err := a.q.spool.Create(ctx)
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
