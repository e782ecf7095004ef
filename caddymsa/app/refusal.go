package app

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-smtp"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/running"
	"github.com/caddy-msa/caddy-msa/caddymsa/smtpd"
)

// refusal is what a client is refused. Log, metric, event and, where the client has authenticated, the journal are
// told of each in one place.
type refusal struct {
	moment string // the verb; DATA at the end of a message too, however it came
	whole  bool   // a message that has come
	sub    *caddymsa.Submission
	size   int64    // of the message
	rcpts  []string // that it is about
	reply  *smtp.SMTPError
	cause  string
	policy string
	rule   string // of the policy
	user   string // as claimed, where nobody has authenticated
	visit  *journal.Visit
}

func (r *refusal) message() string {
	if r.whole {
		return "message refused"
	}
	return r.moment + " refused"
}

// refuse tells of a refusal with its cause and returns what the client gets.
func (s *session) refuse(srv *Server, r refusal, err error, fields ...zap.Field) error {
	r.reply = toReply(err)
	if _, itself := err.(*smtp.SMTPError); !itself { // or the reply says it all
		r.cause = err.Error()
	}
	fields = append(fields, s.fields()...)
	fields = append(fields, zap.String(fieldReply, caddymsa.ReplyText(r.reply)), zap.Error(err))
	if policy, ok := errors.AsType[*policyError](err); ok {
		r.policy, r.rule = policy.policy, policy.rule()
		fields = append(fields, zap.String(fieldPolicy, policy.policy), zap.String("rule", r.rule))
	}
	if direct, ok := errors.AsType[*directError](err); ok {
		r.visit = direct.visit
	}
	refused := error(r.reply)
	if policy, ok := errors.AsType[*policyError](err); ok {
		refused = &running.Refusal{SMTPError: r.reply, Policy: policy.policy, Rule: policy.rule()}
	}
	s.refused++
	if s.tellRefusal(srv, &r) {
		if isOurs(err) {
			srv.log.Error(r.message(), fields...)
		} else {
			srv.log.Info(r.message(), fields...)
		}
	}
	return refused
}

// Refused tells of what the engine refused, as refuse does of what the session did.
func (s *session) Refused(said smtpd.Refusal) {
	srv := s.inCharge()
	if srv == nil {
		return
	}
	s.refused++
	said.Arg = withoutCredentials(said.Arg)
	r := &refusal{moment: said.Verb, sub: s.open, reply: said.Reply, cause: said.Arg}
	if said.Reason != said.Reply.Message {
		r.cause = strings.TrimSpace(said.Reason + " " + said.Arg)
	}
	if !s.tellRefusal(srv, r) {
		return
	}
	fields := append(s.fields(), zap.String(fieldReply, caddymsa.ReplyText(said.Reply)), zap.String("reason", said.Reason), zap.String("argument", said.Arg))
	if hint := hintForRefusal(s.client.TLS(), said); hint != "" {
		fields = append(fields, zap.String(fieldHint, hint))
	}
	srv.log.Info(r.message(), fields...)
}

// tellRefusal counts a refusal, has the journal keep that of a user, emits an event, and tells whether there may be a
// line in the log: what a stranger can repeat is sampled.
func (s *session) tellRefusal(srv *Server, r *refusal) bool {
	client := "stranger"
	if s.login != nil {
		client = "user"
	}
	r.count(srv, client)
	s.tallyRefusal(srv, r, "")
	if s.login != nil && r.isOfMail() {
		if d := srv.app.delivery; d.journal() != nil {
			d.journal().Note(s.refusedFact(srv, r))
		}
	}
	allowed := s.allowed(srv, r.message()+" "+strconv.Itoa(r.reply.Code))
	if (allowed || r.whole) && // only users come so far as a whole message
		(r.isOfMail() || r.moment == "AUTH") {
		srv.app.events.emit(eventRefused, func() map[string]any { return s.refusedEvent(srv, r) })
	}
	return allowed
}

// count counts it in the metrics.
func (r *refusal) count(srv *Server, client string) {
	metrics.refusals.WithLabelValues(srv.name, r.moment, client, r.policy, rules.of(r.rule), strconv.Itoa(r.reply.Code/100)).Inc()
}

// isOfMail tells whether somebody wanted to send something.
func (r *refusal) isOfMail() bool {
	switch r.moment {
	case "MAIL", "RCPT", "DATA", "BDAT":
		return true
	}
	return false
}

// entry is the envelope as far as it is known.
func (r *refusal) entry(srv *Server) *queue.Entry {
	if r.sub != nil {
		return r.sub.Entry
	}
	return &queue.Entry{Server: srv.name}
}

func (s *session) refusedEvent(srv *Server, r *refusal) map[string]any {
	e := r.entry(srv)
	data := map[string]any{"user": r.user, "reply": caddymsa.ReplyText(r.reply), "policy": r.policy, "moment": r.moment, "remote_ip": ""}
	if s.login != nil {
		data["user"] = s.login.identity.User
	}
	if s.ip.IsValid() {
		data["remote_ip"] = s.ip.String()
	}
	return about(e, r.rcpts, data)
}

// refusedFact is the journal's.
func (s *session) refusedFact(srv *Server, r *refusal) journal.Fact {
	e := r.entry(srv)
	f := journal.Fact{Time: time.Now(), What: journal.Refused, Server: srv.name, User: s.login.identity.User, Sender: e.Sender,
		Recipients: r.rcpts, Count: len(r.rcpts), Text: queue.OneLine(r.cause), Visit: r.visit,
		Moment: r.moment, Reply: caddymsa.ReplyText(r.reply), Policy: r.policy}
	if r.sub == nil {
		e.AppPassword = s.login.identity.AppPassword
		e.Session, e.Helo, e.Mechanism, e.TLS = s.client.ID(), s.client.Helo(), s.login.mechanism, s.tlsText()
		if s.ip.IsValid() {
			e.RemoteIP = s.ip.String()
		}
	}
	f.Submission = e.Submission()
	f.Size = r.size
	if r.sub != nil {
		f.Policies = trailOf(r.sub).policies()
	}
	return f
}
