package app

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"time"

	gosasl "github.com/emersion/go-sasl"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/app/gate"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// Auth starts an exchange. What it needs of a backend it asks the configuration
// in charge at that moment.
func (s *session) Auth(ctx context.Context, mechanism string) (gosasl.Server, error) {
	x := &exchange{s: s, ctx: ctx, mechanism: mechanism}
	srv, _, leave, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	if srv.gate.Blocked(ctx, &srv.Auth.Throttle, s.ip) {
		return nil, x.failed(gate.ErrThrottled)
	}
	if proxy := x.proxied(srv); proxy != nil {
		x.server = proxy
		return x, nil
	}
	switch mechanism {
	case sasl.Plain:
		x.server = sasl.NewPlain(x.checkPassword)
	case sasl.Login:
		x.server = sasl.NewLogin(x.checkPassword)
	case sasl.DigestMD5:
		config := srv.Auth.digestConfig()
		config.Verify = x.checkDigest
		x.server = sasl.NewDigestMD5(config)
	case sasl.SCRAMSHA256, sasl.SCRAMSHA256Plus:
		binding := s.channelBinding()
		x.server = sasl.NewSCRAM(sasl.SCRAMConfig{
			Lookup:        x.scramCredential,
			Binding:       binding,
			Plus:          mechanism == sasl.SCRAMSHA256Plus,
			PlusAnnounced: binding != nil && slices.Contains(srv.Auth.offered(), sasl.SCRAMSHA256Plus),
		})
	case sasl.OAuthBearer:
		x.server = sasl.NewOAuthBearer(x.checkToken)
	case sasl.XOAuth2:
		x.server = sasl.NewXOAuth2(x.checkToken)
	case sasl.External:
		x.server = sasl.NewExternal(x.mapCertificate)
	default:
		return nil, x.failed(errMechanismGone)
	}
	return x, nil
}

// exchange is one AUTH. It wraps a mechanism, so that its errors become replies and
// the login counts when the mechanism is through.
type exchange struct {
	s         *session
	ctx       context.Context
	mechanism string
	server    gosasl.Server

	user  string // as claimed, for the log
	login *login // as proven, or about to be

	claim   *gate.Claim // what the throttle counts; nil before the first question
	settled bool        // a failure is logged and counted
	delay   time.Duration
}

// Next implements sasl.Server.
func (x *exchange) Next(response []byte) (challenge []byte, done bool, err error) {
	challenge, done, err = x.server.Next(response)
	if err == nil && !done {
		return challenge, false, nil
	}
	if err == nil && x.login == nil {
		err = errors.New("the mechanism ended without a login")
	}
	if err == nil {
		err = x.succeeded()
	}
	if err != nil {
		return nil, false, x.failed(err)
	}
	return challenge, true, nil
}

func (x *exchange) succeeded() error {
	srv, _, leave, err := x.s.enter(x.ctx)
	if err != nil {
		return err
	}
	defer leave()
	x.s.login = x.login
	x.s.standing.set(stateIdle)
	x.claim.Accepted()
	metrics.auth.WithLabelValues(srv.name, x.mechanism, "ok").Inc()
	srv.log.Debug("authenticated", append(x.s.fields(), zap.String(fieldMechanism, x.mechanism),
		zap.String(fieldBackend, x.login.backend.id))...)
	return nil
}

// failed logs and counts a failure, holds the reply back where passwords are being guessed, and
// returns it.
func (x *exchange) failed(cause error) error {
	x.settle(cause)
	if x.delay > 0 {
		timer := time.NewTimer(x.delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-x.ctx.Done():
		}
	}
	return toReply(cause)
}

// settle logs and counts a failure, once an exchange.
func (x *exchange) settle(cause error) {
	if x.settled {
		return
	}
	x.settled = true
	x.user = cmp.Or(x.user, sasl.Claimed(cause))
	srv, _, leave, err := x.s.enter(x.ctx)
	if err != nil {
		return
	}
	defer leave() // before the delay: a client's pause must not hold up a reload
	x.logFailure(srv, cause)
	switch {
	case errors.Is(cause, caddymsa.ErrCredentials):
		delay, blocks := x.claim.Refused()
		x.delay = delay
		if blocks != "" && x.s.allowed(srv, "AUTH blocks") {
			srv.log.Warn("authentication blocked", append(x.fields(cause), zap.String("blocked", blocks),
				zap.Duration("for", time.Duration(srv.Auth.Throttle.Block)))...)
		}
	case toReply(cause) == errCannotTell && !errors.Is(cause, caddymsa.ErrBusy):
		x.claim.Unanswered()
	}
}

// logFailure also counts it in the metrics.
func (x *exchange) logFailure(srv *Server, err error) {
	result, level, text := "refused", zap.WarnLevel, "authentication failed"
	switch reason := x.reason(err); {
	case reason != "":
		result = reason
	case toReply(err) == errAuthSyntax, toReply(err) == errInitialResponse:
		result = "malformed"
	case errors.Is(err, gate.ErrThrottled):
		result, level, text = "blocked", zap.InfoLevel, "authentication refused: blocked"
	case errors.Is(err, caddymsa.ErrBusy):
		result, level, text = "busy", zap.WarnLevel, "authentication put off: busy"
	case isOurs(err):
		result, level, text = "cannot_tell", zap.ErrorLevel, "authentication could not be decided"
	}
	metrics.auth.WithLabelValues(srv.name, x.mechanism, result).Inc()
	refused := &refusal{moment: "AUTH", user: x.user, reply: toReply(err), cause: err.Error()}
	refused.count(srv, "stranger")
	rule := x.reason(err)
	if rule == "" && result != "refused" {
		rule = result
	}
	x.s.tallyRefusal(srv, refused, rule)
	if x.s.allowed(srv, "AUTH "+result) {
		srv.log.Log(level, text, x.fields(err)...)
		srv.app.events.emit(eventRefused, func() map[string]any {
			return x.s.refusedEvent(srv, refused)
		})
	}
}

func (x *exchange) fields(err error) []zap.Field {
	fields := append(x.s.fields(), zap.String(fieldMechanism, x.mechanism), zap.String(fieldUser, x.user),
		zap.String(fieldReply, caddymsa.ReplyText(toReply(err))), zap.Error(err))
	if reason := x.reason(err); reason != "" {
		fields = append(fields, zap.String(fieldReason, reason))
	}
	return fields
}

// reason is for the operator: why the client was refused.
func (x *exchange) reason(err error) string {
	word := caddymsa.Reason(err)
	if _, token := errors.AsType[*sasl.TokenRefusal](err); token && word == "" {
		return caddymsa.Reason(caddymsa.ErrWrongPassword)
	}
	if word == "" && errors.Is(err, caddymsa.ErrCredentials) && x.login != nil {
		return caddymsa.Reason(caddymsa.ErrWrongPassword) // SCRAM: there is such a user
	}
	return word
}

// Close implements io.Closer, for exchanges that somebody else has to hear the end of.
func (x *exchange) Close() error {
	x.claim.Abandoned() // if nothing else has become of it
	if c, ok := x.server.(io.Closer); ok {
		return c.Close()
	}
	return nil
}
