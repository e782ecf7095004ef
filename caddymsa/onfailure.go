package caddymsa

import (
	"context"
	"fmt"

	"github.com/emersion/go-smtp"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

// What a policy does that asks somebody else when it gets no answer.
const (
	FailTempfail = "tempfail" // 451 4.3.0: the client tries again
	FailAccept   = "accept"   // as if it had not been asked
	FailRefuse   = "refuse"   // 554 5.3.0
)

// OnFailure are the words of the setting on_failure.
var OnFailure = []string{FailTempfail, FailAccept, FailRefuse}

// CheckOnFailure sets the default, tempfail, and refuses a word that is none of OnFailure.
func CheckOnFailure(s *string) error {
	if *s == "" {
		*s = FailTempfail
	}
	if err := conf.OneOf(*s, OnFailure...); err != nil {
		return fmt.Errorf("on_failure: %w", err)
	}
	return nil
}

// Failed is what a policy says whose question was not answered, with cause in the log. If ctx, the caller's, has ended, as at
// the end of a configuration, nobody has failed to answer: the client is to try again, whatever onFailure says.
func Failed(ctx context.Context, onFailure string, cause error, log *zap.Logger, fields ...zap.Field) error {
	if ctx.Err() != nil {
		return cause
	}
	fields = append(fields, zap.Error(cause))
	switch onFailure {
	case FailAccept:
		log.Error("a submission passes unchecked", fields...)
		return nil
	case FailRefuse:
		log.Error("a submission is refused that could not be checked", fields...)
		return &Refusal{Code: 554, Status: smtp.EnhancedCode{5, 3, 0}, Rule: "unavailable", Text: "Submission cannot be checked", Err: cause}
	}
	return cause // the server logs it, and says 451 4.3.0
}
