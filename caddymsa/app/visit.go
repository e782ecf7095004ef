package app

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"runtime/debug"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/running"
	"github.com/caddy-msa/caddy-msa/caddymsa/smtpd"
)

// request is a client that comes by another protocol than SMTP, for one message at most.
type request struct {
	*running.Client
	id string
}

func (r *request) ID() string                { return r.id }
func (*request) Helo() string                { return "" }
func (r *request) TLS() *tls.ConnectionState { return r.Client.TLS }
func (r *request) RemoteAddr() net.Addr      { return r.Addr }

// named is where requests come to: the server of a name, in whichever configuration is in charge.
type named string

func (n named) inCharge() *Server {
	srv, _ := running.Server[*Server](string(n))
	return srv
}

var errCrowded = &smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 7, 0}, Message: "Too many connections, try again later"}

// visit is a request from its begin to its end. It counts as a connection does.
type visit struct {
	*session
	authenticated, leave func()
}

// Admit implements running.Submission.
func (srv *Server) Admit(c *running.Client) (running.Visitor, error) {
	if !underWay.begin() {
		return nil, errGone
	}
	s := newSession(named(srv.name), &request{c, smtpd.NewID()})
	network := caddymsa.ClientNetwork(s.ip)
	place, refused := srv.gate.Enter(network, srv.gateLimits(), c.MakeRoom)
	if refused != "" {
		underWay.end()
		srv.tellRefused(s.ip, refused)
		return nil, errCrowded
	}
	metrics.connections.WithLabelValues(srv.name).Inc()
	s.standing.begin(srv.name)
	s.standing.set(stateTLS)
	return &visit{session: s, authenticated: place.Authenticated, leave: func() {
		s.standing.end(endRequest)
		place.Leave()
		underWay.end()
	}}, nil
}

// Leave implements running.Visitor.
func (v *visit) Leave() { v.leave() }

// Login implements running.Visitor, with the exchange that AUTH has.
func (v *visit) Login(ctx context.Context, mechanism string, response []byte) (s running.Submitter, said []byte, err error) {
	defer v.outlive(&err)
	server, err := v.Auth(ctx, mechanism)
	if err != nil {
		return nil, nil, err
	}
	if closer, ok := server.(io.Closer); ok {
		defer closer.Close()
	}
	said, done, err := server.Next(response)
	if err == nil && !done { // it says why not, and waits to hear that this was read
		_, done, err = server.Next([]byte{1})
	}
	switch {
	case err != nil:
		return nil, said, err
	case !done:
		return nil, said, fmt.Errorf("the mechanism %s does not end", mechanism)
	}
	v.authenticated()
	return v, nil, nil
}

// outlive has a panic be the request's alone, as the engine has it be a session's.
func (v *visit) outlive(err *error) {
	if p := recover(); p != nil {
		v.Close(smtpd.End{Reason: smtpd.EndPanic, Panic: fmt.Sprintf("%v\n%s", p, debug.Stack())})
		*err = errInternal
	}
}

// Begin implements running.Submitter.
func (v *visit) Begin(ctx context.Context, e *smtpd.Envelope, k *running.Once) (d running.Draft, err error) {
	defer v.outlive(&err)
	srv := v.inCharge()
	if srv == nil {
		return nil, errGone
	}
	if k != nil {
		v.once = v.onceOf(k)
	}
	i, err := smtpd.Inject(ctx, v.session, srv.engine, e)
	if err != nil {
		return nil, err
	}
	return &injected{i, v}, nil
}

// injected is a message on its way in, of which no panic ends the process.
type injected struct {
	*smtpd.Injection
	v *visit
}

func (i *injected) Write(p []byte) (n int, err error) {
	defer i.v.outlive(&err)
	return i.Injection.Write(p)
}

func (i *injected) Commit(ctx context.Context) (r smtpd.Reply, err error) {
	defer i.v.outlive(&err)
	return i.Injection.Commit(ctx)
}

func (i *injected) Abort(cause error) {
	var err error
	defer i.v.outlive(&err)
	i.Injection.Abort(cause)
}

// Interface guards
var (
	_ running.Submission = (*Server)(nil)
	_ running.Visitor    = (*visit)(nil)
	_ running.Submitter  = (*visit)(nil)
	_ running.Draft      = (*injected)(nil)
)
