package app

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
	"github.com/caddy-msa/caddy-msa/caddymsa/smtpd"
)

// client is who a session is with: a connection of the SMTP engine, or a request of a web site.
type client interface {
	// ID names the session in the log.
	ID() string
	// Helo is what the client calls itself. Empty: it has not said.
	Helo() string
	// TLS is nil where there is none, or not yet.
	TLS() *tls.ConnectionState
	RemoteAddr() net.Addr
}

// place is where a session came to, which outlives configurations.
type place interface {
	// inCharge is the server that serves there now. Nil: none does any more.
	inCharge() *Server
}

// session is one client's dealings with whichever configuration is in charge.
type session struct {
	place
	client  client
	ip      netip.Addr
	address string // ip's text
	started time.Time
	log     *zap.Logger // of the server that it was with last, see logger

	login *login // nil before AUTH
	tls   string // tlsText's, once it was asked for

	open     *caddymsa.Submission // the transaction's
	once     *once                // of a request that can be sent again
	accepted int                  // messages
	standing standing
	refused  int
}

func newSession(at place, c client) *session {
	s := &session{place: at, client: c, ip: clientIP(c.RemoteAddr()), started: time.Now(), log: zap.NewNop()}
	s.address = s.ip.String()
	if srv := at.inCharge(); srv != nil {
		s.log = srv.log
	}
	return s
}

// logger names the session. It is that of the server in charge, whose log may be elsewhere than it was when the session began.
func (s *session) logger() *zap.Logger {
	if srv := s.inCharge(); srv != nil {
		s.log = srv.log
	}
	return s.log.With(zap.String(fieldSession, s.client.ID()), zap.String(fieldRemoteIP, s.address))
}

// enter begins a call into the modules of the server in charge.
func (s *session) enter(ctx context.Context) (srv *Server, call context.Context, leave func(), err error) {
	for {
		srv = s.inCharge()
		if srv == nil {
			return nil, nil, nil, errGone
		}
		if call, leave, ok := srv.app.generation.enter(ctx); ok {
			return srv, call, leave, nil
		}
		if s.inCharge() == srv { // it closes, and none has come after it
			return nil, nil, nil, errGone
		}
	}
}

func (s *session) peer(srv *Server) caddymsa.Peer {
	return caddymsa.Peer{IP: s.ip, Server: srv.Hostname, Session: s.client.ID()}
}

// Mechanisms leaves -PLUS out where there is nothing to bind to, and EXTERNAL where the client
// has shown no certificate.
func (s *session) Mechanisms() []string {
	srv := s.inCharge()
	if srv == nil {
		return nil
	}
	offered := srv.Auth.offered()
	var can []string
	for _, name := range offered {
		if name == sasl.SCRAMSHA256Plus && s.channelBinding() == nil || name == sasl.External && !s.verifiedClient() {
			continue
		}
		can = append(can, name)
	}
	return can
}

// verifiedClient tells whether the client has proven to have a certificate that the connection
// policies trust.
func (s *session) verifiedClient() bool {
	state := s.client.TLS()
	return state != nil && len(state.VerifiedChains) > 0
}

// channelBinding is nil where the connection has none to offer.
func (s *session) channelBinding() []byte {
	binding, err := sasl.TLSExporter(s.client.TLS())
	if err != nil {
		return nil
	}
	return binding
}

// Mail begins a transaction, if the client still is who it was.
func (s *session) Mail(ctx context.Context, from mailaddr.Address, opts *smtpd.MailOptions) (smtpd.Transaction, error) {
	srv, call, leave, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	if err := s.stillStands(call, srv); err != nil {
		return nil, s.refuse(srv, refusal{moment: "MAIL", sub: s.submission(srv, from, opts)}, err, zap.String(fieldSender, from.Exact))
	}
	t := &transaction{s: s, srv: srv, began: time.Now(), sub: s.submission(srv, from, opts)}
	t.beginSpan(ctx, srv)
	call = t.traced(call)
	decided := false
	defer func() {
		if !decided { // a policy panicked
			t.end(srv, false)
		}
	}()
	err = srv.policies.sender(call, t.sub)
	decided = true
	if err != nil {
		t.end(srv, false)
		return nil, s.refuse(srv, refusal{moment: "MAIL", sub: t.sub, size: opts.Size}, err, zap.String(fieldSender, from.Exact))
	}
	s.open = t.sub
	s.standing.set(stateTransaction)
	return t, nil
}

// submission is the envelope as it stands after MAIL.
func (s *session) submission(srv *Server, from mailaddr.Address, opts *smtpd.MailOptions) *caddymsa.Submission {
	e := &queue.Entry{
		Server:     srv.name,
		Sender:     from.Exact,
		Body:       string(opts.Body),
		SMTPUTF8:   opts.UTF8,
		Return:     string(opts.Return),
		EnvelopeID: opts.EnvelopeID,
		Priority:   opts.Priority,
		Session:    s.client.ID(),
		Helo:       s.client.Helo(),
		Mechanism:  s.login.mechanism,
		User:       s.login.identity.User,
		Attributes: s.login.identity.Attributes,

		AppPassword: s.login.identity.AppPassword,
	}
	if s.ip.IsValid() {
		e.RemoteIP = s.address
	}
	if opts.Auth != nil {
		e.Auth = *opts.Auth
	}
	e.TLS = s.tlsText()
	sub := &caddymsa.Submission{Entry: e, Sender: from, Identity: s.login.identity, Helo: s.client.Helo(), DeclaredSize: opts.Size,
		RemoteIP: s.ip, Hostname: srv.Hostname, Session: s.client.ID(), Counter: srv.app.counter()}
	if srv.app.delivery.journal() != nil {
		beginTrail(sub)
	}
	return sub
}

// allowed tells whether a line of this cause may be written again so soon.
func (s *session) allowed(srv *Server, cause string) bool {
	if srv.gate == nil {
		return true
	}
	if s.login != nil {
		return srv.gate.Samples.Client(srv.log, cause, caddymsa.ClientNetwork(s.ip))
	}
	return srv.gate.Samples.Stranger(srv.log, cause, caddymsa.ClientNetwork(s.ip))
}

// fields name the session in a log line.
func (s *session) fields() []zap.Field { return s.appendFields(make([]zap.Field, 0, 3)) }

func (s *session) appendFields(f []zap.Field) []zap.Field {
	f = append(f, zap.String(fieldSession, s.client.ID()), zap.String(fieldRemoteIP, s.address))
	if s.login != nil {
		f = s.login.appendFields(f)
	}
	return f
}

// Close writes the session's one line.
func (s *session) Close(end smtpd.End) {
	s.standing.end(end.Reason)
	fields := []zap.Field{
		zap.String("reason", end.Reason),
		zap.Duration("duration", time.Since(s.started)),
		zap.Int("commands", end.Commands), zap.Int("bad_commands", end.BadCommands),
		zap.Int("accepted", s.accepted), zap.Int("refused", s.refused),
	}
	if text := s.tlsText(); text != "" {
		fields = append(fields, zap.String("tls", text))
	}
	if s.login != nil {
		fields = append(s.login.appendFields(fields), zap.String(fieldMechanism, s.login.mechanism))
	}
	if len(end.Tried) > 0 && s.client.TLS() == nil {
		fields = append(fields, zap.Strings("tried", end.Tried))
	}
	if hint := hintForEnd(end); hint != "" {
		fields = append(fields, zap.String(fieldHint, hint))
	}
	if end.Err != nil {
		fields = append(fields, zap.Error(end.Err))
	}
	if end.Panic != "" {
		s.logger().Error("session ended by a panic", append(fields, zap.String("panic", end.Panic))...)
		return
	}
	if srv := s.inCharge(); s.login == nil && srv != nil && !s.allowed(srv, "session ended: "+end.Reason) {
		return
	}
	s.logger().Info("session ended", fields...)
}
