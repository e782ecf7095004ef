package app

import (
	"context"
	"errors"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/app/gate"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// Replies of the session itself.
var (
	errGone       = &smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 3, 2}, Message: "Service shutting down, try again later"}
	errLoginStale = &smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 7, 0}, Message: "Authentication is no longer valid, connect again"}
	errNoRoute    = &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "Recipient is not served here"}
	errAlone      = &smtp.SMTPError{Code: 452, EnhancedCode: smtp.EnhancedCode{4, 5, 3}, Message: "One recipient at a time here: send the message again for this one"}
	errTooLarge   = &smtp.SMTPError{Code: 552, EnhancedCode: smtp.EnhancedCode{5, 3, 4}, Message: "Message exceeds the size limit"}
	errLoop       = &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 4, 6}, Message: "Too many Received fields, this looks like a mail loop"}

	errCredentials     = &smtp.SMTPError{Code: 535, EnhancedCode: smtp.EnhancedCode{5, 7, 8}, Message: "Authentication credentials invalid"}
	errAuthSyntax      = &smtp.SMTPError{Code: 501, EnhancedCode: smtp.EnhancedCode{5, 5, 2}, Message: "Malformed authentication response"}
	errInitialResponse = &smtp.SMTPError{Code: 501, EnhancedCode: smtp.EnhancedCode{5, 7, 0}, Message: "This mechanism takes no initial response"}
	errMechanismGone   = &smtp.SMTPError{Code: 504, EnhancedCode: smtp.EnhancedCode{5, 5, 4}, Message: "Mechanism is no longer offered"}
	errThrottled       = &smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 7, 0}, Message: "Too many failed authentications, try again later"}
	errSpoolFull       = &smtp.SMTPError{Code: 452, EnhancedCode: smtp.EnhancedCode{4, 3, 1}, Message: "Insufficient storage, try again later"}
	errCannotTell      = &smtp.SMTPError{Code: 454, EnhancedCode: smtp.EnhancedCode{4, 7, 0}, Message: "Temporary authentication failure, try again later"}
	errInternal        = &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "Temporary failure, try again later"}
)

// cannotTell is a backend's failure to say yes or no.
type cannotTell struct{ error }

func (c cannotTell) Unwrap() error { return c.error }

// toReply is the one place where an error becomes what the client gets: nothing
// in it names a host, a file or a user of ours.
func toReply(err error) *smtp.SMTPError {
	var reply *smtp.SMTPError
	var unsure cannotTell
	var policy *policyError
	var direct *directError
	switch {
	case errors.As(err, &unsure): // first: what a backend wraps is not for the client
		return errCannotTell
	case errors.As(err, &policy) && policy.reply() != nil:
		return policy.reply()
	case errors.Is(err, gate.ErrThrottled):
		return errThrottled
	case errors.As(err, &direct):
		return direct.reply()
	case errors.As(err, &reply):
		return reply
	case errors.Is(err, sasl.ErrCredentials):
		return errCredentials
	case errors.Is(err, sasl.ErrMalformed):
		return errAuthSyntax
	case errors.Is(err, sasl.ErrInitialResponse):
		return errInitialResponse
	case errors.Is(err, queue.ErrFull):
		return errSpoolFull
	default:
		return errInternal
	}
}

// isOurs tells whether an error is a fault on our side, to be logged as one.
func isOurs(err error) bool {
	if direct, ok := errors.AsType[*directError](err); ok && direct.outcome == queue.OutcomeInterrupted { // by a reload
		return false
	}
	r := toReply(err)
	return r == errInternal || r == errCannotTell || r == errNextHop || r == errNextHopLate || errors.Is(err, context.DeadlineExceeded)
}
