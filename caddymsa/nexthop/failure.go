package nexthop

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/emersion/go-smtp"
)

// Where says who was spoken to. Address is empty as long as nobody was, TLS without TLS.
type Where struct {
	Host    string // its name
	Address string // what the connection went to
	TLS     string // version and cipher
}

// Outcome is what became of one recipient.
type Outcome struct {
	Where
	// Err is nil when the next hop has the message for this recipient.
	Err error
	// Reply is the next hop's last word, also on success, where it names the id in its queue. Nil
	// if it said nothing.
	Reply *smtp.SMTPError
	// Relayed tells that the message goes on from there, rather than that it is where it goes.
	Relayed bool
	// Notifies tells that the hop has taken over the notifications that were asked for (RFC 3461
	// section 6.2).
	Notifies bool
}

// Failure says why a next hop did not take a message. Where the hop refused the message, it
// unwraps to the *smtp.SMTPError that it gave; a refusal of us (greeting, TLS, log-in) is in Reply
// alone, since it is never the message's fault.
type Failure struct {
	Where
	// Lane tells that every message to this hop would meet the same: no connection, no greeting, TLS or
	// the log-in refused. Anything else concerns this message, or its sender.
	Lane bool
	// Elsewhere tells that the hop has taken nothing, so that another may be asked.
	Elsewhere bool
	// Reply is what the hop said, nil if it said nothing.
	Reply *smtp.SMTPError

	what string // we were doing
	err  error
}

func (f *Failure) Error() string {
	text := f.err.Error()
	if f.what != "" {
		text = f.what + ": " + text
	}
	if f.Address != "" {
		text = f.Address + ": " + text
	}
	return text
}

// Unwrap returns the reply that concerns the message, or whatever else went wrong.
func (f *Failure) Unwrap() error { return f.err }

// AsFailure returns the Failure that err is or wraps, or nil.
func AsFailure(err error) *Failure {
	f, _ := errors.AsType[*Failure](err)
	return f
}

// ReplyOf returns the reply that err is or wraps, or nil.
func ReplyOf(err error) *smtp.SMTPError {
	reply, _ := errors.AsType[*smtp.SMTPError](err)
	return reply
}

// refusal is a negative reply to one of our commands, without a word on whose fault it is.
type refusal struct {
	what  string
	reply *smtp.SMTPError
}

func (r *refusal) Error() string { return fmt.Sprintf("%s: %s", r.what, replyText(r.reply)) }

// refused makes an error of a reply that is not the one that was hoped for.
func refused(what string, r reply) error {
	if r.negative() {
		return &refusal{what, r.smtp()}
	}
	return fmt.Errorf("%s: unexpected reply: %s", what, replyText(r.smtp()))
}

// replyText is a reply in one line.
func replyText(e *smtp.SMTPError) string {
	text := fmt.Sprintf("%d", e.Code)
	if e.EnhancedCode != (smtp.EnhancedCode{}) {
		text += fmt.Sprintf(" %d.%d.%d", e.EnhancedCode[0], e.EnhancedCode[1], e.EnhancedCode[2])
	}
	if e.Message != "" {
		text += " " + strings.ReplaceAll(e.Message, "\n", " ")
	}
	return text
}

// interrupted has err say that ctx ended, if it did.
func interrupted(ctx context.Context, err error) error {
	if cause := ctx.Err(); cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w (%w)", cause, err)
	}
	return err
}
