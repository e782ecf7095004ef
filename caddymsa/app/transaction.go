package app

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/emersion/go-smtp"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/smtpd"
)

func (srv *Server) policies() policies { return srv.Policies }

// transaction is one message on its way in.
type transaction struct {
	s     *session
	srv   *Server // whose checks it has passed
	sub   *caddymsa.Submission
	store *store
	draft queue.Draft
	size  int64
	// direct is the route of a recipient whose message is delivered before the client is answered.
	direct *RouteConfig
}

// Rcpt implements smtpd.Transaction.
func (t *transaction) Rcpt(ctx context.Context, to mailaddr.Address, opts *smtpd.RcptOptions) error {
	srv, call, leave, err := t.s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	r := queue.Recipient{Address: to.Exact, ORCPT: opts.ORCPT}
	if to.IsPostmaster() {
		r.Route = strings.ToLower(to.Exact) + "@" + srv.Hostname
	}
	for _, n := range opts.Notify {
		r.Notify = append(r.Notify, string(n))
	}
	if err := t.checkRecipient(call, srv, &r); err != nil {
		return t.s.refuse(srv, "RCPT refused", err, zap.String(fieldSender, t.sub.Entry.Sender), zap.String(fieldRecipient, to.Exact))
	}
	t.sub.Entry.Recipients = append(t.sub.Entry.Recipients, r)
	return nil
}

func (t *transaction) checkRecipient(ctx context.Context, srv *Server, r *queue.Recipient) error {
	if err := srv.policies().recipient(ctx, t.sub, r); err != nil {
		return err
	}
	route, err := srv.route(t.sub.Entry, r)
	if err != nil {
		return err
	}
	if route == nil {
		return errNoRoute
	}
	if len(t.sub.Entry.Recipients) > 0 && (t.direct != nil || route.Unqueued != nil) {
		return errAlone
	}
	if t.direct = nil; route.Unqueued != nil {
		t.direct = route
	}
	if c, ok := route.sink.(caddymsa.RecipientChecker); ok {
		return c.CheckRecipient(ctx, t.sub.Entry, r)
	}
	return nil
}

// Begin opens a draft in the spool of the configuration in charge.
func (t *transaction) Begin(ctx context.Context) (smtpd.Body, error) {
	srv, call, leave, err := t.s.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	t.store = srv.app.delivery.store
	if t.draft, err = t.store.spool.Create(call); err != nil {
		t.sub.End(false)
		return nil, t.s.refuse(srv, "message refused", err, t.fields()...)
	}
	return body{t}, nil
}

// Write appends to the message. The spool outlives configurations, so none is entered.
func (t *transaction) Write(p []byte) (int, error) {
	n, err := t.draft.Write(p)
	t.size += int64(n)
	if err != nil {
		return n, toReply(err)
	}
	return n, nil
}

// Commit runs the checks that had to wait, and all of them again if the
// configuration was replaced since, and makes the message durable.
func (t *transaction) Commit(ctx context.Context) (smtpd.Reply, error) {
	srv, call, leave, err := t.s.enter(ctx)
	if err != nil {
		t.sub.End(false)
		t.draft.Abort()
		return smtpd.Reply{}, err
	}
	defer leave()
	e := t.sub.Entry
	e.ID = newQueueID()
	err = t.commit(call, srv)
	t.sub.End(err == nil)
	if before, ok := errors.AsType[*caddymsa.AlreadyAccepted](err); ok {
		t.draft.Abort()
		metrics.messages.WithLabelValues(srv.name, "accepted_before").Inc()
		fields := append(t.fields(), t.s.fields()...)
		srv.log.Info("message accepted before", append(fields, zap.String(fieldQueueID, before.ID))...)
		return accepted(before.ID), nil
	}
	if err != nil {
		t.draft.Abort()
		metrics.messages.WithLabelValues(srv.name, "refused").Inc()
		fields := append(t.fields(), zap.String(fieldQueueID, e.ID))
		srv.app.events.emit(eventRefused, func() map[string]any { return refusedEvent(e, err) })
		return smtpd.Reply{}, t.s.refuse(srv, "message refused", err, fields...)
	}
	t.s.accepted++
	metrics.messages.WithLabelValues(srv.name, "accepted").Inc()
	metrics.acceptedOctets.WithLabelValues(srv.name).Add(float64(e.Size))
	fields := append(t.fields(), t.s.fields()...)
	srv.log.Info("message accepted", append(fields, zap.String(fieldQueueID, e.ID))...)
	srv.app.events.emit(eventAccepted, func() map[string]any {
		return about(e, addressesOf(e), map[string]any{"user": e.User, "size": e.Size})
	})
	if t.direct != nil {
		t.draft.Abort()
		return smtpd.Reply{Code: 250, Enhanced: smtp.EnhancedCode{2, 0, 0}, Text: "Ok: delivered as " + e.ID}, nil
	}
	return accepted(e.ID), nil
}

// accepted names the queue id.
func accepted(id string) smtpd.Reply {
	return smtpd.Reply{Code: 250, Enhanced: smtp.EnhancedCode{2, 0, 0}, Text: "Ok: queued as " + id}
}

func (t *transaction) commit(ctx context.Context, srv *Server) error {
	e := t.sub.Entry
	if srv != t.srv {
		if err := t.checkAgain(ctx, srv); err != nil {
			return err
		}
	}
	m := caddymsa.NewMessage(t.size, t.draft.Reader)
	if err := checkLoop(m); err != nil {
		return err
	}
	if err := srv.policies().message(ctx, t.sub, m); err != nil {
		return err
	}
	e.Accepted = time.Now()
	e.Next = e.Accepted
	header := append(srv.received(t.sub, t.s), m.Prepended()...)
	e.Size = int64(len(header)) + t.size
	if t.direct != nil {
		return t.deliver(ctx, header)
	}
	// Durable or not is the one thing that must not be left open, so the end of
	// the generation or of the connection does not interrupt it.
	if err := t.draft.Commit(context.WithoutCancel(ctx), e, header); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	return nil
}

// checkAgain holds the transaction to a configuration that came while it was open.
func (t *transaction) checkAgain(ctx context.Context, srv *Server) error {
	e := t.sub.Entry
	if srv.app.delivery.store != t.store {
		return errors.New("the spool was replaced in mid-transaction")
	}
	if t.size > srv.Limits.MessageSize {
		return errTooLarge
	}
	if err := t.s.stillStands(ctx, srv); err != nil {
		return err
	}
	t.sub.End(false) // the policies begin again
	t.sub.Forget()
	t.sub.Identity, t.sub.Hostname = t.s.login.identity, srv.Hostname
	e.Server, e.Attributes, e.ReturnPath = srv.name, t.sub.Identity.Attributes, false
	if err := srv.policies().sender(ctx, t.sub); err != nil {
		return err
	}
	// The policies see the recipients come one by one, as the first time.
	rcpts := e.Recipients
	e.Recipients = nil
	for _, r := range rcpts {
		if err := t.checkRecipient(ctx, srv, &r); err != nil {
			return err
		}
		e.Recipients = append(e.Recipients, r)
	}
	return nil
}

// Abort implements smtpd.Transaction: nothing was kept yet.
func (t *transaction) Abort() { t.sub.End(false) }

// body is a transaction that has a draft.
type body struct{ *transaction }

// Abort forgets the message.
func (b body) Abort(cause error) {
	b.sub.End(false)
	b.draft.Abort()
	b.s.log.Info("message not received whole", append(b.fields(), zap.Error(cause))...)
}

func (t *transaction) fields() []zap.Field {
	return []zap.Field{
		zap.String(fieldSender, t.sub.Entry.Sender), zap.Strings(fieldRecipients, addressesOf(t.sub.Entry)), zap.Int64(fieldSize, t.size),
	}
}

func addressesOf(e *queue.Entry) []string {
	all := make([]string, len(e.Recipients))
	for i := range all {
		all[i] = e.Recipients[i].Address
	}
	return all
}

func refusedEvent(e *queue.Entry, err error) map[string]any {
	data := map[string]any{"user": e.User, "reply": caddymsa.ReplyText(toReply(err)), "policy": ""}
	if policy, ok := errors.AsType[*policyError](err); ok {
		data["policy"] = policy.policy
	}
	return about(e, addressesOf(e), data)
}
