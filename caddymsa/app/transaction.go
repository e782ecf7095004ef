package app

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/emersion/go-smtp"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/app/tally"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/smtpd"
)

// transaction is one message on its way in.
type transaction struct {
	s     *session
	srv   *Server // whose checks it has passed
	sub   *caddymsa.Submission
	store *store
	draft *heldDraft
	size  int64
	head  headerScan
	span  *span     // nil: it is not traced
	began time.Time // with MAIL
	told  bool      // of the refusal, in the log
	over  bool      // it is decided what becomes of the message
	// routes are those of the recipients accepted so far.
	routes []*RouteConfig
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
	call = t.traced(call)
	r := queue.Recipient{Address: to.Exact, ORCPT: opts.ORCPT}
	if to.IsPostmaster() {
		r.Route = strings.ToLower(to.Exact) + "@" + srv.Hostname
	}
	for _, n := range opts.Notify {
		r.Notify = append(r.Notify, string(n))
	}
	if err := t.checkRecipient(call, srv, &r); err != nil {
		return t.s.refuse(srv, refusal{moment: "RCPT", sub: t.sub, rcpts: []string{to.Exact}}, err, zap.String(fieldSender, t.sub.Entry.Sender), zap.String(fieldRecipient, to.Exact))
	}
	t.sub.Entry.Recipients = append(t.sub.Entry.Recipients, r)
	return nil
}

func (t *transaction) checkRecipient(ctx context.Context, srv *Server, r *queue.Recipient) error {
	if err := srv.policies.recipient(ctx, t.sub, r); err != nil {
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
	t.direct = nil
	if route.Unqueued != nil {
		t.direct = route
	}
	if c, ok := route.sink.(caddymsa.RecipientChecker); ok {
		calling(ctx, "sink "+route.name, "CheckRecipient")
		if err := c.CheckRecipient(ctx, t.sub.Entry, r); err != nil {
			return err
		}
	}
	t.routes = append(t.routes, route)
	return nil
}

// Begin opens a draft in the spool of the configuration in charge.
func (t *transaction) Begin(ctx context.Context) (smtpd.Body, error) {
	err := t.openDraft(ctx)
	if errors.Is(err, errFinished) { // another configuration took over at this moment
		if err = t.openDraft(ctx); errors.Is(err, errFinished) {
			err = toReply(err)
		}
	}
	if err != nil {
		return nil, err
	}
	return body{t}, nil
}

func (t *transaction) openDraft(ctx context.Context) error {
	srv, call, leave, err := t.s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	t.head.limits = &srv.Limits
	t.store = srv.app.delivery.store
	if memory, ok := t.store.spool.(queue.Rememberer); ok {
		t.sub.Before = memory.Before
	}
	calling(call, "spool", "Create")
	t.draft, err = t.store.create(call)
	if err != nil && !errors.Is(err, errFinished) {
		t.end(srv, false)
		return t.s.refuse(srv, t.refusal(), err, t.fields()...)
	}
	return err
}

// Write appends to the message. The spool outlives configurations, so none is entered.
func (t *transaction) Write(p []byte) (int, error) {
	if err := t.head.scan(p); err != nil {
		return 0, err
	}
	n, err := t.draft.Write(p)
	t.size += int64(n)
	if err != nil {
		t.told = true
		return n, t.s.refuse(t.srv, t.refusal(), fmt.Errorf("spool: %w", err), t.fields()...)
	}
	return n, nil
}

// Commit runs the checks that had to wait, and all of them again if the
// configuration was replaced since, and makes the message durable.
func (t *transaction) Commit(ctx context.Context) (smtpd.Reply, error) {
	srv, call, leave, err := t.s.enter(ctx)
	if err != nil {
		t.end(t.srv, false)
		t.draft.Abort()
		return smtpd.Reply{}, err
	}
	defer leave()
	call = t.traced(call)
	defer t.giveUpInPanic()
	e := t.sub.Entry
	e.ID = newQueueID()
	err = t.commit(call, srv)
	if err != nil {
		t.draft.checkReaders()
	}
	t.over = true
	t.end(srv, err == nil)
	if before, ok := errors.AsType[*caddymsa.AlreadyAccepted](err); ok {
		t.forget()
		metrics.messages.WithLabelValues(srv.name, "accepted_before").Inc()
		t.logAccepted(srv, "message accepted before", before.ID)
		return accepted(before.ID), nil
	}
	if err != nil {
		t.draft.Abort()
		metrics.messages.WithLabelValues(srv.name, "refused").Inc()
		fields := append(t.access(make([]zap.Field, 0, 22)), zap.String(fieldQueueID, e.ID)) // with room for those of the session
		return smtpd.Reply{}, t.s.refuse(srv, t.refusal(), err, fields...)
	}
	t.s.accepted++
	metrics.messages.WithLabelValues(srv.name, "accepted").Inc()
	rates.Count(time.Now(), tally.Accepted, 1)
	metrics.acceptedOctets.WithLabelValues(srv.name).Add(float64(e.Size))
	t.logAccepted(srv, "message accepted", e.ID)
	srv.app.events.emit(eventAccepted, func() map[string]any {
		return about(e, addressesOf(e), map[string]any{"user": e.User, "size": e.Size})
	})
	if t.sub.Held != "" {
		srv.app.events.emit(eventHeld, func() map[string]any { return heldEvent(e, t.sub.Held, "") })
	}
	if t.direct != nil {
		lately.add(t)
		t.forget()
		return smtpd.Reply{Code: 250, Enhanced: smtp.EnhancedCode{2, 0, 0}, Text: "Ok: delivered as " + e.ID, ID: e.ID}, nil
	}
	return accepted(e.ID), nil
}

// accepted names the queue id.
func accepted(id string) smtpd.Reply {
	return smtpd.Reply{Code: 250, Enhanced: smtp.EnhancedCode{2, 0, 0}, Text: "Ok: queued as " + id, ID: id}
}

func (t *transaction) commit(ctx context.Context, srv *Server) error {
	e := t.sub.Entry
	if srv != t.srv {
		if err := t.checkAgain(ctx, srv); err != nil {
			return err
		}
	}
	m := caddymsa.NewMessage(t.size, t.draft.Reader)
	if err := srv.policies.message(ctx, t.sub, m); err != nil {
		return err
	}
	t.draft.checkReaders() // a policy may accept where it cannot tell
	e.Accepted = time.Now()
	header := append(srv.received(t.sub, t.s), m.Prepended()...)
	e.Size = int64(len(header)) + t.size
	if t.sub.Held != "" { // the spool keeps it, and the route takes it once it is released
		t.direct = nil
	}
	if t.direct != nil {
		return t.deliver(ctx, srv, header)
	}
	// Durable or not is the one thing that must not be left open, so the end of
	// the generation or of the connection does not interrupt it.
	calling(ctx, "spool", "Commit")
	g := &routed{srv.app.delivery, t.routes}
	accept := &queue.Accept{Entry: e, Header: header, Jobs: t.store.queue.Jobs(ctx, g, e), Held: t.sub.Held, Once: t.once(srv), Facts: t.facts(srv)}
	done := step(ctx, "commit", "")
	err := t.draft.Commit(context.WithoutCancel(ctx), accept)
	done(err)
	if err != nil {
		if before, ok := errors.AsType[*queue.BeforeError](err); ok {
			return t.before(ctx, srv, before.ID)
		}
		return fmt.Errorf("spool: %w", err)
	}
	return nil
}

// facts are what the journal has of the message in the commit that accepts it.
func (t *transaction) facts(srv *Server) []journal.Fact {
	if srv.app.delivery.journal() == nil {
		return nil
	}
	e, looked := t.sub.Entry, trailOf(t.sub)
	f := e.AcceptedFact()
	f.Policies = looked.policies()
	t.s.once.mark(&f)
	facts := []journal.Fact{f}
	if t.sub.Held != "" {
		held := e.Fact(journal.Held, e.Accepted)
		held.Text = t.sub.Held
		if looked != nil {
			held.Policy = looked.heldBy
		}
		facts = append(facts, held)
	}
	return facts
}

// checkAgain holds the transaction to a configuration that came while it was open.
func (t *transaction) checkAgain(ctx context.Context, srv *Server) error {
	e := t.sub.Entry
	if t.size > srv.Limits.MessageSize {
		return errTooLarge
	}
	if err := t.s.stillStands(ctx, srv); err != nil {
		return err
	}
	t.sub.End(false) // the policies begin again
	t.sub.Held, t.sub.Once = "", nil
	t.sub.Forget()
	t.sub.Identity, t.sub.Hostname, t.sub.Counter = t.s.login.identity, srv.Hostname, srv.app.counter()
	if srv.app.delivery.journal() != nil {
		beginTrail(t.sub)
	}
	e.Server, e.Attributes, e.ReturnPath = srv.name, t.sub.Identity.Attributes, false
	if err := srv.policies.sender(ctx, t.sub); err != nil {
		return err
	}
	// The policies see the recipients come one by one, as the first time.
	rcpts := e.Recipients
	e.Recipients, t.routes = nil, nil
	for _, r := range rcpts {
		if err := t.checkRecipient(ctx, srv, &r); err != nil {
			return err
		}
		e.Recipients = append(e.Recipients, r)
	}
	return nil
}

// Abort implements smtpd.Transaction: nothing was kept yet.
func (t *transaction) Abort() { t.end(t.srv, false) }

// body is a transaction that has a draft.
type body struct{ *transaction }

// Abort forgets the message.
func (b body) Abort(cause error) {
	b.end(b.srv, false)
	b.draft.Abort()
	if _, refused := errors.AsType[*smtp.SMTPError](cause); refused {
		if !b.told {
			e := b.sub.Entry
			e.ID = newQueueID() // as for what is refused by a policy
			metrics.messages.WithLabelValues(b.srv.name, "refused").Inc()
			_ = b.s.refuse(b.srv, b.refusal(), cause, append(append(b.access(make([]zap.Field, 0, 24)), zap.String(fieldQueueID, e.ID)), remedyFor(cause)...)...)
		}
		return
	}
	if b.s.allowed(b.srv, "message not received whole") {
		b.s.logger().Info("message not received whole", append(b.s.login.appendFields(b.fields()), zap.Error(cause))...)
	}
}

// remedyFor says what the operator can do about a message that the engine refused.
func remedyFor(cause error) []zap.Field {
	switch {
	case errors.Is(cause, smtpd.ErrNUL):
		return []zap.Field{zap.String(fieldHint, "the client sends NUL, which mail must not have; to take such messages without it, set: newlines normalize")}
	case errors.Is(cause, smtpd.ErrBareCR), errors.Is(cause, smtpd.ErrBareLF):
		return []zap.Field{zap.String(fieldHint, "the client sends line ends that are not CRLF (curl: use --crlf); to take and correct them, set: newlines normalize")}
	}
	return nil
}

// end tells the policies what came of the submission. What one of them breaks there changes nothing
// of it, and least of all a message that is durable.
func (t *transaction) end(srv *Server, accepted bool) {
	t.s.open = nil
	t.endSpan(accepted)
	t.s.standing.set(stateIdle)
	defer func() {
		if p := recover(); p != nil {
			srv.log.Error("a policy panicked at the end of a submission", append(t.s.fields(), zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))...)
			t.end(srv, accepted) // the others
		}
	}()
	t.sub.End(accepted)
}

// giveUpInPanic aborts a message of which a module broke before it was decided. The panic goes on
// to the engine, which closes the session with 421.
func (t *transaction) giveUpInPanic() {
	if t.over {
		return
	}
	if p := recover(); p != nil {
		t.end(t.srv, false)
		t.forget()
		panic(p) // its stack is still there for the engine to log
	}
}

// forget aborts the draft of a message of which the client's answer is decided: what the spool breaks
// there changes nothing of it.
func (t *transaction) forget() {
	_ = queue.Guarded(t.s.logger(), func() error {
		t.draft.Abort()
		return nil
	})
}

func (t *transaction) fields() []zap.Field {
	return t.appendFields(make([]zap.Field, 0, 8)) // with room for those of the session, and the queue id
}

func (t *transaction) appendFields(f []zap.Field) []zap.Field {
	return append(f, zap.String(fieldSender, t.sub.Entry.Sender), zap.Strings(fieldRecipients, addressesOf(t.sub.Entry)), zap.Int64(fieldSize, t.size))
}

func addressesOf(e *queue.Entry) []string {
	all := make([]string, len(e.Recipients))
	for i := range all {
		all[i] = e.Recipients[i].Address
	}
	return all
}

// refusal is of the whole message.
func (t *transaction) refusal() refusal {
	return refusal{moment: "DATA", whole: true, sub: t.sub, size: t.size, rcpts: addressesOf(t.sub.Entry)}
}
