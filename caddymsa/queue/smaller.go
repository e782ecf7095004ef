package queue

import (
	"bufio"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/dsn"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
)

// A notification that is refused for what it carries is sent again without that: with the message's header only, then as text alone. Otherwise
// the sender of a message that was too large would never hear of it, since its notification is larger still.

// refusedForContent tells whether a smaller notification, in 7 bits, may be taken: it was too large, or had 8-bit octets, UTF-8, long lines
// or words that the next hop does not take. Many say no more than "554 Transaction failed" to that, so only what speaks of the address is
// another reason (RFC 3463, X.1.y and X.2.0 to X.2.2), and 552, which means the size where nothing is said beside it, never is.
func (r *Recipient) refusedForContent() bool {
	_, status, _ := strings.Cut(r.Status, ".")
	switch {
	case r.Code == 552 || r.Code == 523:
		return true
	case r.Code/100 != 5, status == "2.0", status == "2.1", status == "2.2":
		return false
	}
	return !strings.HasPrefix(status, "1.")
}

// tellSmaller has a smaller notification committed with the record, in the place of the one that was refused. It returns the
// recipients of whom that cannot be said.
func (a *attempt) tellSmaller(at time.Time, refused []*Recipient) (left []*Recipient) {
	if len(refused) == 0 {
		return nil
	}
	m, err := a.smaller(at, refused)
	if err != nil {
		a.q.log.Error("a notification was refused, and cannot be made smaller", zap.String(fieldQueueID, a.e.ID), zap.Error(err))
		return refused
	}
	a.refused = refused
	a.rec.Messages = append(a.rec.Messages, m)
	a.noteAbout(journal.Told, refused, m.Entry.ID, toldSmaller, at)
	a.q.log.Warn("a notification was refused; a smaller one is sent", zap.String(fieldQueueID, a.e.ID), zap.String(fieldBounce, m.Entry.ID),
		zap.String(fieldReason, refused[0].Error), zap.Strings(fieldRecipients, addressesOf(refused)))
	return nil
}

// toldSmaller is what the journal says of a notification in the place of one that was refused.
const toldSmaller = "the same, without what was refused"

// smallerAgain makes the draft anew that a failed Record has aborted.
func (a *attempt) smallerAgain() {
	if a.refused == nil {
		return
	}
	a.rec.Messages = nil
	a.rec.Facts = slices.DeleteFunc(a.rec.Facts, func(f journal.Fact) bool { return f.Text == toldSmaller })
	if m, err := a.smaller(a.rec.At, a.refused); err == nil {
		a.rec.Messages = append(a.rec.Messages, m)
		a.noteAbout(journal.Told, a.refused, m.Entry.ID, toldSmaller, a.rec.At)
	}
}

func (a *attempt) smaller(at time.Time, refused []*Recipient) (m MessageDraft, err error) {
	message, err := a.lease.Open(a.ctx)
	if err != nil {
		return m, err
	}
	defer message.Close()
	draft, err := a.q.spool.Create(AsNotification(context.Background()))
	if err != nil {
		return m, fmt.Errorf("create: %w", err)
	}
	counted := &counter{w: draft}
	w := bufio.NewWriterSize(counted, 32<<10)
	body, err := dsn.Reduce(w, message)
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		draft.Abort()
		return m, err
	}
	e := &Entry{
		ID: a.q.opts.NewID(), Server: a.e.Server, Accepted: at, Size: counted.n, Bounce: true,
		Body: "7BIT", SMTPUTF8: body.UTF8Header, Priority: a.e.Priority,
	}
	for _, r := range refused {
		e.Recipients = append(e.Recipients, Recipient{Address: r.Address, Route: r.Route})
	}
	return MessageDraft{Draft: draft, Accept: Accept{Entry: e, Jobs: a.q.Jobs(a.ctx, a.g, e), Facts: a.acceptedFacts(e)}}, nil
}
