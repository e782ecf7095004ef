package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/emersion/go-smtp"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/xtext"
)

// mappedSink is a sink behind an address map.
type mappedSink struct {
	sink      queue.Sink
	addresses caddymsa.AddressMap
	log       *zap.Logger
}

// Deliver implements queue.Sink. The sink gets copies of the envelope, and what it says of them
// is told of the originals. Logical addresses of one mailbox are one recipient of the sink's, whose answer is
// for all of them.
func (m *mappedSink) Deliver(ctx context.Context, d *queue.Delivery) error {
	e := *d.Entry
	if err := m.sender(ctx, &e); err != nil {
		return err
	}
	var originals, copies []*queue.Recipient
	copyOf := make(map[*queue.Recipient]*queue.Recipient)
	mailboxes := make(map[string]*queue.Recipient)
	for _, r := range d.Recipients {
		c, err := m.recipient(ctx, &e, r)
		if err != nil {
			d.Report(r, err)
			continue
		}
		if c.Address != r.Address {
			m.log.Info("recipient translated", zap.String(fieldQueueID, e.ID), zap.String("logical", r.Complete()), zap.String("actual", c.Address))
		}
		originals = append(originals, r)
		key := mailbox(c)
		if same, ok := mailboxes[key]; ok {
			same.Notify = bothNotify(same.Notify, c.Notify)
			copyOf[r] = same
			continue
		}
		mailboxes[key], copyOf[r] = c, c
		copies = append(copies, c)
	}
	if len(copies) == 0 {
		return nil
	}
	inner := queue.NewDelivery(&e, copies, d.Open)
	inner.Attempt, inner.Hostname = d.Attempt, d.Hostname
	inner.OnFinal(d.Final)
	err := m.sink.Deliver(ctx, inner)
	var first error // what the others get has the first one's address hidden
	for _, r := range originals {
		c := copyOf[r]
		r.RemoteMTA = c.RemoteMTA
		if notifies, ok := inner.WasRelayed(c); ok {
			d.Relayed(r, notifies)
		}
		d.Answered(r, hideAnswer(inner.AnswerOf(c), c.Address, r.Complete()))
		reported, said := inner.Reported(c)
		if !reported {
			said = err
		}
		hidden := hideAddress(said, c.Address, r.Complete())
		if said != nil && !reported && first == nil {
			first = hidden
		}
		if reported || hides(said, c.Address, r.Complete()) { // else it is the delivery's as a whole, and may be the lane's
			d.Report(r, hidden)
		}
	}
	return first
}

// sender translates the reverse path, unless it is null.
func (m *mappedSink) sender(ctx context.Context, e *queue.Entry) error {
	if e.Sender == "" {
		return nil
	}
	from, err := mailaddr.Parse(e.Sender, true)
	if err != nil {
		return fmt.Errorf("address_map: %w", err)
	}
	to, ok, err := translate(ctx, m.addresses.Logical, from)
	if err != nil || !ok {
		return wrapMap(err)
	}
	m.log.Info("sender translated", zap.String(fieldQueueID, e.ID), zap.String("actual", e.Sender), zap.String("logical", to.Exact))
	e.Sender, e.SMTPUTF8 = to.Exact, e.SMTPUTF8 || to.NeedsUTF8()
	return nil
}

// recipient returns a copy with the actual address. The next hop is told the logical one as the
// original recipient (RFC 3461 section 4.2), so that its notifications name that.
func (m *mappedSink) recipient(ctx context.Context, e *queue.Entry, r *queue.Recipient) (*queue.Recipient, error) {
	c := *r
	logical, err := mailaddr.Parse(r.Complete(), true)
	if err != nil {
		return nil, fmt.Errorf("address_map: %w", err)
	}
	to, ok, err := translate(ctx, m.addresses.Actual, logical)
	if err != nil || !ok {
		return &c, wrapMap(err)
	}
	c.Address, c.Route = to.Exact, ""
	e.SMTPUTF8 = e.SMTPUTF8 || to.NeedsUTF8()
	if c.ORCPT == "" && !logical.NeedsUTF8() {
		c.ORCPT = "rfc822;" + xtext.Encode(logical.Exact)
	}
	return &c, nil
}

// errTag is the answer to a plus-address that cannot be translated: with its tag the actual one is no address.
var errTag = &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 3}, Message: "Address is too long, or its tag is not usable here"}

// translate asks a map for an address, and then for the one of which it is a plus-address: ik+x@ of a mapped ik@ is translated and keeps its
// tag, so that neither side sees the other's.
func translate(ctx context.Context, ask func(context.Context, mailaddr.Address) (string, bool, error), a mailaddr.Address) (mailaddr.Address, bool, error) {
	text, ok, err := ask(ctx, a)
	base, tag, tagged := a.CutTag()
	if err == nil && !ok && tagged {
		text, ok, err = ask(ctx, base)
	} else {
		tagged = false
	}
	if err != nil || !ok {
		return mailaddr.Address{}, false, err
	}
	to, err := mailaddr.Parse(text, true)
	if err != nil {
		return mailaddr.Address{}, false, fmt.Errorf("what stands for %s is not an address: %q: %w", a.Exact, text, err)
	}
	if tagged {
		if to, err = mailaddr.Parse(to.WithTag(tag).Exact, true); err != nil {
			return mailaddr.Address{}, false, errTag
		}
	}
	return to, true, nil
}

// mailbox is what recipients have in common that are one: the address as it is sent, whatever the spelling of quotes and domain.
func mailbox(r *queue.Recipient) string {
	if a, err := mailaddr.Parse(r.Complete(), true); err == nil {
		return a.KeyCase(names.Exact)
	}
	return r.Complete()
}

// bothNotify is what two recipients together want to be told (RFC 3461 section 4.1). Nothing means the default, which is failures
// and perhaps delays.
func bothNotify(a, b []string) []string {
	if slices.Equal(a, b) {
		return a
	}
	var both []string
	for _, want := range [][]string{a, b} {
		if len(want) == 0 {
			want = []string{"FAILURE", "DELAY"}
		}
		for _, event := range want {
			if event = strings.ToUpper(event); event != "NEVER" && !slices.Contains(both, event) {
				both = append(both, event)
			}
		}
	}
	return both
}

func wrapMap(err error) error {
	if err == nil || err == error(errTag) {
		return err
	}
	return fmt.Errorf("address_map: %w", err)
}

// CheckRecipient implements RecipientChecker where the sink does.
func (m *mappedSink) CheckRecipient(ctx context.Context, e *queue.Entry, r *queue.Recipient) error {
	checker, ok := m.sink.(caddymsa.RecipientChecker)
	if !ok {
		return nil
	}
	envelope := *e
	c, err := m.recipient(ctx, &envelope, r)
	if err != nil {
		return err
	}
	return hideAddress(checker.CheckRecipient(ctx, &envelope, c), c.Address, r.Complete())
}

// destination is where the sink takes what the recipient stands for.
func (m *mappedSink) destination(ctx context.Context, e *queue.Entry, r *queue.Recipient) (queue.Destination, error) {
	sink, ok := m.sink.(queue.Destinations)
	if !ok {
		return queue.Destination{}, nil
	}
	envelope := *e
	c, err := m.recipient(ctx, &envelope, r)
	if err != nil {
		return queue.Destination{}, err
	}
	return sink.Destination(&envelope, c), nil
}

// hideAnswer puts the logical address in the place of the actual one in what a next hop said.
func hideAnswer(a queue.Answer, actual, logical string) queue.Answer {
	if !strings.EqualFold(actual, logical) {
		a.Reply = replaceFold(a.Reply, actual, logical)
	}
	return a
}

// hideAddress puts the logical address in the place of the actual one in a reply. Other errors
// are for the log, which shows both.
func hideAddress(err error, actual, logical string) error {
	if !hides(err, actual, logical) {
		return err
	}
	reply, _ := errors.AsType[*smtp.SMTPError](err)
	hidden := *reply
	hidden.Message = replaceFold(reply.Message, actual, logical)
	if err == error(reply) {
		return &hidden
	}
	return &hiddenError{error: err, reply: &hidden}
}

// hides tells whether there is something to hide.
func hides(err error, actual, logical string) bool {
	reply, ok := errors.AsType[*smtp.SMTPError](err)
	return ok && !strings.EqualFold(actual, logical) && replaceFold(reply.Message, actual, logical) != reply.Message
}

// hiddenError keeps what an error is and shows another reply.
type hiddenError struct {
	error
	reply *smtp.SMTPError
}

func (h *hiddenError) Unwrap() []error { return []error{h.reply, h.error} }

// replaceFold replaces each old, whose case does not matter.
func replaceFold(s, old, with string) string {
	if old == "" {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		if i+len(old) <= len(s) && strings.EqualFold(s[i:i+len(old)], old) {
			b.WriteString(with)
			i += len(old)
			continue
		}
		b.WriteByte(s[i])
		i++
	}
	return b.String()
}
