package queue

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/enhanced"
)

// Status codes of RFC 3463 and what stands in for one that a reply lacks.
const (
	statusExpired = "5.4.7" // delivery time expired
	statusFailed  = "5.0.0"
)

// maxCause bounds, in octets, what is kept of a reply or an error.
const maxCause = 500

// OutcomeOf is what an error of a sink means: nil that it was delivered.
func OutcomeOf(err error) Outcome {
	if err == nil {
		return OutcomeDelivered
	}
	var p permanent
	if errors.As(err, &p) {
		return OutcomeFailed
	}
	if reply := replyOf(err); reply != nil && reply.Code/100 == 5 {
		return OutcomeFailed
	}
	return OutcomeDeferred
}

// replyOf returns the SMTP reply in err, or nil.
func replyOf(err error) *smtp.SMTPError {
	var reply *smtp.SMTPError
	if errors.As(err, &reply) && reply != nil {
		return reply
	}
	return nil
}

// set notes the outcome of an attempt in the recipient.
func (r *Recipient) set(o Outcome, err error) {
	switch o {
	case OutcomeInterrupted:
		return
	case OutcomeDelivered:
		r.State, r.Error, r.Code, r.Status = Delivered, "", 0, ""
		return
	case OutcomeFailed:
		r.State = Failed
	}
	r.Error, r.Code, r.Status = causeText(err), 0, ""
	if reply := replyOf(err); reply != nil {
		r.Code, r.Status = reply.Code, replyStatus(reply)
	}
	if o == OutcomeFailed && !strings.HasPrefix(r.Status, "5.") {
		r.Status = statusFailed
	}
}

// expire fails a recipient whose time is over; the last reply stays on record.
func (r *Recipient) expire() {
	r.State, r.Status = Failed, statusExpired
}

// replyStatus is a reply's enhanced code, or the general one of its class.
func replyStatus(reply *smtp.SMTPError) string {
	if c := reply.EnhancedCode; c[0] == reply.Code/100 {
		return enhanced.String(c)
	}
	return fmt.Sprintf("%d.0.0", reply.Code/100)
}

// causeText is a reply as it stands on the wire, or an error's text, in one line.
func causeText(err error) string {
	reply := replyOf(err)
	switch {
	case reply != nil && reply.EnhancedCode[0] == reply.Code/100:
		return oneLine(fmt.Sprintf("%d %s %s", reply.Code, replyStatus(reply), reply.Message))
	case reply != nil:
		return oneLine(fmt.Sprintf("%d %s", reply.Code, reply.Message))
	}
	return oneLine(errorText(err))
}

// errorText is err.Error(), also where that panics, as with a nil pointer in err.
func errorText(err error) (text string) {
	defer func() {
		if recover() != nil {
			text = fmt.Sprintf("%T", err)
		}
	}()
	return err.Error()
}

// OneLine makes what somebody else said fit for a log line and the journal.
func OneLine(s string) string { return oneLine(s) }

// oneLine makes text fit for a log line and a header field: what a next hop says
// is not to be trusted.
func oneLine(s string) string {
	if len(s) > 4*maxCause {
		s = s[:4*maxCause]
	}
	s = strings.Map(func(r rune) rune {
		switch {
		case r == utf8.RuneError:
			return '?'
		case r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029':
			return ' '
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	for len(s) > maxCause {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return s
}
