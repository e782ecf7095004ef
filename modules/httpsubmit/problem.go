package httpsubmit

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/emersion/go-smtp"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/enhanced"
	"github.com/caddy-msa/caddy-msa/caddymsa/running"
	"github.com/caddy-msa/caddy-msa/caddymsa/smtpd"
)

// problem is what a refusal looks like (RFC 9457).
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	*said
	Recipients []refusedRecipient `json:"recipients,omitempty"`
}

// said is what SMTP would answer.
type said struct {
	Detail   string `json:"detail"`
	Reply    int    `json:"reply_code"`
	Enhanced string `json:"enhanced_code,omitempty"`
	Policy   string `json:"policy,omitempty"`
	Rule     string `json:"rule,omitempty"`
}

type refusedRecipient struct {
	Address string `json:"address"`
	*said
}

// webError is a refusal that SMTP has no reply for.
type webError struct {
	status int
	reply  *smtp.SMTPError
	again  int // seconds after which to try again; 0: not said
}

func (e *webError) Error() string { return e.reply.Error() }

func (e *webError) Unwrap() error { return e.reply }

func fault(status, code int, enhanced smtp.EnhancedCode, format string, args ...any) *webError {
	return &webError{status: status, reply: &smtp.SMTPError{Code: code, EnhancedCode: enhanced, Message: fmt.Sprintf(format, args...)}}
}

// bad is a request that is not understood.
func bad(format string, args ...any) error {
	return fault(http.StatusBadRequest, 501, smtp.EnhancedCode{5, 5, 4}, format, args...)
}

// unprocessable is a message that cannot be made of what was sent.
func unprocessable(format string, args ...any) error {
	return fault(http.StatusUnprocessableEntity, 554, smtp.EnhancedCode{5, 6, 0}, format, args...)
}

var (
	errInternal   = &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "Temporary failure, try again later"}
	errNotRunning = &smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 3, 2}, Message: "Service not available, try again later"}
	errNotFound   = fault(http.StatusNotFound, 550, smtp.EnhancedCode{5, 7, 1}, "You have no such message here")
)

func notAllowed(w http.ResponseWriter, methods ...string) error {
	w.Header().Set("Allow", strings.Join(methods, ", "))
	return fault(http.StatusMethodNotAllowed, 502, smtp.EnhancedCode{5, 5, 1}, "Method is not allowed here; use %s", strings.Join(methods, " or "))
}

const (
	tryAgain     = 30  // seconds
	tryAgainSlow = 600 // after too many wrong passwords, or messages
)

// statusOf is the one place where a reply becomes a status of HTTP (docs/http-submission.md has the table).
func statusOf(err error, r *smtp.SMTPError) (status, again int) {
	if web, ok := errors.AsType[*webError](err); ok {
		return web.status, web.again
	}
	if login, ok := errors.AsType[*loginError](err); ok {
		switch {
		case login.throttled:
			return http.StatusTooManyRequests, tryAgainSlow
		case len(login.challenges) > 0:
			return http.StatusUnauthorized, 0
		}
	}
	class, subject, detail := r.Code/100, r.EnhancedCode[1], r.EnhancedCode[2]
	switch e := [2]int{subject, detail}; {
	case e == [2]int{5, 3}: // as many again will not do either
		return http.StatusUnprocessableEntity, 0
	case class == 4 && e == [2]int{4, 2}:
		return http.StatusRequestTimeout, 0
	case class == 4 && r.Code != 421 && r.Code != 454 && subject == 7: // a policy's limit
		return http.StatusTooManyRequests, tryAgainSlow
	case class == 4:
		return http.StatusServiceUnavailable, tryAgain
	case e == [2]int{3, 4}:
		return http.StatusRequestEntityTooLarge, 0
	case e == [2]int{3, 3}:
		return http.StatusNotImplemented, 0
	case subject == 5:
		return http.StatusBadRequest, 0
	case subject == 7:
		return http.StatusForbidden, 0
	}
	return http.StatusUnprocessableEntity, 0
}

// answer tells of a refusal.
func (h *Submit) answer(w http.ResponseWriter, r *http.Request, err error) {
	reply, ok := errors.AsType[*smtp.SMTPError](err)
	if !ok {
		reply = errInternal
		if r.Context().Err() == nil { // or the client has left, which ends what it asked for
			h.log.Error("request failed", zap.Error(err))
		}
	}
	status, again := statusOf(err, reply)
	p := problem{Type: "about:blank", Status: status, Title: http.StatusText(status), said: saidOf(err, reply)}
	if rcpts, ok := errors.AsType[*smtpd.RecipientsError](err); ok {
		for _, r := range rcpts.Refused {
			one, ok := errors.AsType[*smtp.SMTPError](r.Err)
			if !ok {
				one = errInternal
			}
			p.Recipients = append(p.Recipients, refusedRecipient{r.Address, saidOf(r.Err, one)})
		}
	}
	if login, ok := errors.AsType[*loginError](err); ok && status == http.StatusUnauthorized {
		for _, c := range login.challenges {
			w.Header().Add("WWW-Authenticate", c)
		}
	}
	if again > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(again))
	}
	write(w, "application/problem+json", status, p)
}

func saidOf(err error, r *smtp.SMTPError) *said {
	s := &said{Detail: r.Message, Reply: r.Code}
	if e := r.EnhancedCode; e[0] > 0 {
		s.Enhanced = enhanced.String(e)
	}
	if policy, ok := errors.AsType[*running.Refusal](err); ok {
		s.Policy, s.Rule = policy.Policy, policy.Rule
	}
	return s
}

func write(w http.ResponseWriter, kind string, status int, v any) {
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // the client has gone
}
