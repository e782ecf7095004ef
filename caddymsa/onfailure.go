package caddymsa

import (
	"fmt"

	"github.com/emersion/go-smtp"
	"go.uber.org/zap"
)

// What a policy does that asks somebody else when it gets no answer.
const (
	FailTempfail = "tempfail" // 451 4.3.0: the client tries again
	FailReject   = "reject"   // 554 5.3.0
	FailAccept   = "accept"   // as if it had not been asked
)

// CheckOnFailure sets the default, tempfail, or refuses what is none of the three.
func CheckOnFailure(s *string) error {
	switch *s {
	case "":
		*s = FailTempfail
	case FailTempfail, FailReject, FailAccept:
	default:
		return fmt.Errorf("on_failure: %q is none of tempfail, reject, accept", *s)
	}
	return nil
}

// Failed is what a policy says whose question was not answered, with cause in the log.
func Failed(onFailure string, cause error, log *zap.Logger, fields ...zap.Field) error {
	fields = append(fields, zap.Error(cause))
	switch onFailure {
	case FailAccept:
		log.Error("a submission passes unchecked", fields...)
		return nil
	case FailReject:
		log.Error("a submission is refused that could not be checked", fields...)
		return &Refusal{Code: 554, Status: smtp.EnhancedCode{5, 3, 0}, Rule: "unavailable", Text: "Submission cannot be checked", Err: cause}
	}
	return cause // the server logs it, and says 451 4.3.0
}
