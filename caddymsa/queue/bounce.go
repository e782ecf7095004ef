package queue

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/dsn"
)

func randomID() string { return rand.Text()[:16] }

// notification builds a notification to the sender and returns its queue id (RFC 3464, RFC 6533).
func (a *attempt) notification(action dsn.Action, notes []Note, at time.Time) (string, MessageDraft, error) {
	report := &dsn.Report{
		ID: a.q.opts.NewID(), Hostname: a.hostname, To: a.e.Sender, Date: at,
		EnvelopeID: a.e.EnvelopeID, Arrival: a.e.Accepted, UTF8: a.e.SMTPUTF8,
		Full: action == dsn.Failed && a.e.Return == "FULL", // RFC 3461 section 4.3
	}
	for _, n := range notes {
		for _, i := range n.To {
			if i < len(a.e.Recipients) {
				report.Recipients = append(report.Recipients, n.report(&a.e.Recipients[i]))
			}
		}
	}
	message, err := a.lease.Open(a.ctx)
	if err != nil {
		m, err := a.draft(report, at) // better without the message than not at all
		return report.ID, m, err
	}
	defer message.Close()
	report.Message = message
	m, err := a.draft(report, at)
	if err == nil || errors.Is(err, ErrClosed) {
		return report.ID, m, err
	}
	report.Message = nil
	m, err = a.draft(report, at)
	return report.ID, m, err
}

// report is what a notification says of a recipient. Only replies are shown:
// other errors name our own hosts and files.
func (n *Note) report(r *Recipient) dsn.Recipient {
	d := dsn.Recipient{
		Original: r.ORCPT, Final: r.Complete(), Action: n.Action, Status: n.Status, RemoteMTA: n.RemoteMTA, LastAttempt: n.Time, WillRetryUntil: n.Until,
	}
	switch n.Action {
	case dsn.Delivered, dsn.Relayed:
		d.Status = "2.0.0"
	case dsn.Delayed:
		if !strings.HasPrefix(d.Status, "4.") {
			d.Status = "4.0.0"
		}
	}
	if n.Code != 0 {
		d.Diagnostic = n.of(r).Error
	}
	return d
}

// draft writes a notification, to be committed with the record.
func (a *attempt) draft(report *dsn.Report, at time.Time) (m MessageDraft, err error) {
	draft, err := a.q.spool.Create(AsNotification(context.Background()))
	if err != nil {
		return m, fmt.Errorf("create: %w", err)
	}
	counted := &counter{w: draft}
	w := bufio.NewWriterSize(counted, 32<<10)
	body, err := dsn.Write(w, report)
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		draft.Abort()
		return m, fmt.Errorf("write: %w", err)
	}
	e := &Entry{
		ID: report.ID, Server: a.e.Server, Accepted: at, Size: counted.n, Bounce: true,
		Body: "7BIT", SMTPUTF8: body.UTF8Header, Priority: a.e.Priority, Trace: a.e.Trace,
		Recipients: []Recipient{{Address: a.e.Sender}},
	}
	if body.EightBit {
		e.Body = "8BITMIME"
	}
	return MessageDraft{Draft: draft, Accept: Accept{Entry: e, Jobs: a.q.Jobs(a.ctx, a.g, e), Facts: a.acceptedFacts(e)}}, nil
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
