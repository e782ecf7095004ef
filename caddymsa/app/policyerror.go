package app

import (
	"errors"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa"
)

// policyError is a refusal or a failure with the policy's name.
type policyError struct {
	policy string
	err    error
}

func (e *policyError) Error() string { return "policy " + e.policy + ": " + e.err.Error() }
func (e *policyError) Unwrap() error { return e.err }

// reply is nil for a failure.
func (e *policyError) reply() *smtp.SMTPError {
	if r, ok := errors.AsType[*caddymsa.Refusal](e.err); ok {
		return r.Reply(e.policy)
	}
	if r, ok := errors.AsType[*smtp.SMTPError](e.err); ok {
		return (&caddymsa.Refusal{Code: r.Code, Status: r.EnhancedCode, Text: r.Message}).Reply(e.policy)
	}
	return nil
}

// rule is the refusing rule, for the log.
func (e *policyError) rule() string {
	if r, ok := errors.AsType[*caddymsa.Refusal](e.err); ok {
		return r.Rule
	}
	return ""
}
