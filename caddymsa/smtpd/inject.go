package smtpd

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/xtext"
)

// Envelope is a message's as another protocol carries it: addresses without brackets, values without xtext.
// An empty value is a parameter that was not given.
type Envelope struct {
	Sender     string // empty: the null reverse path
	Recipients []string
	// UTF8 is SMTPUTF8. An address that needs it has it.
	UTF8 bool
	// Size is the message's in octets as far as it is known, as in SIZE. Zero: not known.
	Size int64

	Body, Return, EnvelopeID, Priority string // as BODY, RET, ENVID and MT-PRIORITY
	Notify                             string // as NOTIFY, of all recipients
}

// Injection is a message that comes by another protocol, held to the rules of MAIL, RCPT and DATA: what they
// refuse is refused with the same words, and the session hears of it. Commit or Abort ends it.
type Injection struct {
	settings *Settings
	session  Session
	now      func() time.Time
	began    time.Time
	body     Body // nil once it is committed or aborted
	intake
}

// RecipientsError is that not all recipients are accepted, so that none is.
type RecipientsError struct{ Refused []RefusedRecipient }

// RefusedRecipient is one of them, and what RCPT would have been answered.
type RefusedRecipient struct {
	Address string
	Err     error
}

func (e *RecipientsError) Error() string { return e.Unwrap().Error() }

// Unwrap is the first refusal for good, or else the first.
func (e *RecipientsError) Unwrap() error {
	for _, r := range e.Refused {
		if errorReply(r.Err).Code >= 500 {
			return r.Err
		}
	}
	return e.Refused[0].Err
}

// Bounds are those of a message's octets as they come.
type Bounds struct {
	Size     int64         // of the message
	Header   int64         // of its header, where the session limits that; zero: it does not
	Patience time.Duration // for the next octets
	// Rate is the least number of octets a second, after Grace. Zero or less: any.
	Rate  int64
	Grace time.Duration
}

// Bounds are what the settings say of a message.
func (s *Settings) Bounds() Bounds {
	return Bounds{Size: s.messageSize(), Patience: orDefault(s.Data, defaultData), Rate: orDefault(s.DataRate, defaultDataRate), Grace: orDefault(s.DataGrace, defaultDataGrace)}
}

// TooSlow tells whether what came in so long is too little.
func (b Bounds) TooSlow(octets int64, elapsed time.Duration) bool {
	return b.Rate > 0 && elapsed > b.Grace && octets < b.Rate*int64(elapsed/time.Second)
}

// Inject begins a message of a client that has authenticated.
func Inject(ctx context.Context, session Session, settings *Settings, e *Envelope) (*Injection, error) {
	i := &Injection{session: session, settings: settings, now: time.Now, intake: settings.intake()}
	tx, err := i.mail(ctx, e)
	if err != nil {
		return nil, err
	}
	over := false
	defer func() {
		if !over { // refused, or a panic
			tx.Abort()
		}
	}()
	if err := i.rcpt(ctx, tx, e); err != nil {
		return nil, err
	}
	body, err := tx.Begin(ctx)
	if over = err == nil; err != nil {
		return nil, err
	}
	i.body, i.began = body, i.now()
	return i, nil
}

func (i *Injection) mail(ctx context.Context, e *Envelope) (Transaction, error) {
	from, rest, err := mailaddr.ParsePath("<"+e.Sender+">", true)
	switch {
	case err == nil && from.IsPostmaster():
		err = mailaddr.ErrNotQualified
	case err == nil && rest != "":
		err = mailaddr.ErrSyntax
	}
	if err != nil {
		return nil, i.refused("MAIL", e.Sender, addressReply(err, code(5, 1, 7), "Sender address"))
	}
	opts := &MailOptions{ExactPath: from.Exact}
	for _, p := range []param{{name: "BODY", value: e.Body}, {name: "RET", value: e.Return}, {name: "ENVID", value: xtext.Encode(e.EnvelopeID)}, {name: "MT-PRIORITY", value: e.Priority}} {
		if p.value == "" {
			continue
		}
		if err := setMailParam(opts, p, i.settings.Priority); err != nil {
			return nil, i.refused("MAIL", e.Sender, paramReply(p, err))
		}
	}
	opts.Priority = min(opts.Priority, i.settings.Priority)
	opts.UTF8, opts.Size = e.UTF8 || from.NeedsUTF8(), e.Size
	for _, r := range e.Recipients {
		to, _, err := mailaddr.ParsePath("<"+r+">", true)
		opts.UTF8 = opts.UTF8 || err == nil && to.NeedsUTF8()
	}
	if opts.Size > i.limit {
		return nil, i.refused("MAIL", e.Sender, errTooLarge)
	}
	return i.session.Mail(ctx, from, opts)
}

var (
	errNoRecipients      = &smtp.SMTPError{Code: 503, EnhancedCode: smtp.EnhancedCode{5, 5, 1}, Message: "There are no recipients"}
	errTooManyRecipients = &smtp.SMTPError{Code: 452, EnhancedCode: smtp.EnhancedCode{4, 5, 3}, Message: textTooManyRecipients}
)

func (i *Injection) rcpt(ctx context.Context, tx Transaction, e *Envelope) error {
	switch {
	case len(e.Recipients) == 0:
		return i.refused("DATA", "", errNoRecipients)
	case len(e.Recipients) > i.settings.recipients():
		return i.refused("RCPT", "", errTooManyRecipients)
	}
	var all RecipientsError
	for _, address := range e.Recipients {
		err := i.recipient(ctx, tx, e, address)
		if err == nil {
			continue
		}
		all.Refused = append(all.Refused, RefusedRecipient{address, err})
		if errorReply(err).Code == 421 || ctx.Err() != nil {
			break
		}
	}
	if len(all.Refused) > 0 {
		return &all
	}
	return nil
}

func (i *Injection) recipient(ctx context.Context, tx Transaction, e *Envelope, address string) error {
	to, rest, err := mailaddr.ParsePath("<"+address+">", true)
	if err == nil && (to.IsNull() || rest != "") {
		err = mailaddr.ErrSyntax
	}
	if err != nil {
		return i.refused("RCPT", address, addressReply(err, code(5, 1, 3), "Recipient address"))
	}
	opts := new(RcptOptions)
	if p := (param{name: "NOTIFY", value: e.Notify}); p.value != "" {
		if err := rcptParam(opts, p); err != nil {
			return i.refused("RCPT", address, paramReply(p, err))
		}
	}
	return tx.Rcpt(ctx, to, opts)
}

// refused tells the session of a refusal of ours, as Conn does.
func (i *Injection) refused(verb, arg string, r *smtp.SMTPError) error {
	i.session.Refused(Refusal{Verb: verb, Arg: strings.Clone(arg[:min(len(arg), maxToldArg)]), Reply: r, Reason: r.Message})
	return r
}

var errSlow = &smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 4, 2}, Message: "Message comes too slowly"}

// Write takes the next octets of the message. After an error there is nothing more to come: the message is
// refused.
func (i *Injection) Write(p []byte) (int, error) {
	if i.body == nil {
		return 0, errOver
	}
	err := i.take(p, i.body)
	if err == nil && i.tooSlow(i.settings, i.now().Sub(i.began)) {
		err = errSlow
	}
	if err != nil {
		i.Abort(err)
		return 0, err
	}
	return len(p), nil
}

var errOver = errors.New("the message is over")

// Commit ends a message that is whole.
func (i *Injection) Commit(ctx context.Context) (Reply, error) {
	if i.body == nil {
		return Reply{}, errOver
	}
	if err := i.last(i.body); err != nil {
		i.Abort(err)
		return Reply{}, err
	}
	body := i.body
	i.body = nil
	return body.Commit(ctx)
}

// Abort forgets a message that did not come whole; after Commit, or again, it does nothing.
func (i *Injection) Abort(cause error) {
	if body := i.body; body != nil {
		i.body = nil // first, as Abort may panic
		body.Abort(cause)
	}
}

// Interface guard
var _ io.Writer = (*Injection)(nil)
