package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// testAuth asks each backend by itself, without the chain, the throttle or a session.
func testAuth(ctx context.Context, p *Part, q *adminapi.AuthTestRequest) ([]adminapi.AuthTestAnswer, error) {
	if q.IP == "" {
		q.IP = "127.0.0.1"
	}
	ip, err := netip.ParseAddr(q.IP)
	if err != nil {
		return nil, caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: fmt.Errorf("ip: %q is not an IP address", q.IP)}
	}
	servers := p.Servers
	if q.Server != "" {
		only := p.server(q.Server)
		if only == nil {
			return nil, caddy.APIError{HTTPStatus: http.StatusNotFound, Err: p.noServer(q.Server)}
		}
		servers = []Server{*only}
	}
	var all []adminapi.AuthTestAnswer
	for _, srv := range servers {
		peer := caddymsa.Peer{IP: ip, Server: srv.Hostname, Session: "auth-test"}
		for _, b := range srv.Backends {
			ctx, cancel := context.WithTimeout(ctx, srv.Timeout)
			t := backendTest{srv: &srv, b: b.Module, peer: peer, q: q, answer: adminapi.AuthTestAnswer{Server: srv.Name, Backend: b.ID, Mechanisms: []string{}}}
			t.run(ctx)
			cancel()
			all = append(all, t.answer)
		}
	}
	p.Log.Info("log-in checked", zap.String("user", q.User), zap.Stringer("remote_ip", ip), zap.Bool("password", q.Password != ""), zap.String("by", OperatorOf(ctx)))
	p.noteAlone(ctx, journal.Fact{What: journal.Tried, Server: q.Server, Text: "log-in of " + q.User})
	return all, nil
}

// backendTest collects what one backend says.
type backendTest struct {
	srv    *Server
	b      any
	peer   caddymsa.Peer
	q      *adminapi.AuthTestRequest
	answer adminapi.AuthTestAnswer
	no     error // what tells most of those that refuse
}

func (t *backendTest) run(ctx context.Context) {
	if b, ok := caddymsa.As[caddymsa.PasswordVerifier](t.b, caddymsa.CapPassword); ok && t.q.Password != "" {
		id, err := b.VerifyPassword(ctx, t.peer, t.q.User, t.q.Password)
		t.heard("accepted", id, err, sasl.Plain, sasl.Login)
	}
	if b, ok := caddymsa.As[caddymsa.TokenVerifier](t.b, caddymsa.CapToken); ok && t.q.Token != "" {
		id, err := b.VerifyToken(ctx, t.peer, t.q.User, t.q.Token)
		t.heard("accepted", id, err, sasl.OAuthBearer, sasl.XOAuth2)
	}
	if b, ok := caddymsa.As[caddymsa.SCRAMStore](t.b, caddymsa.CapSCRAM); ok {
		t.scram(ctx, b)
	}
	if b, ok := caddymsa.As[caddymsa.DigestStore](t.b, caddymsa.CapDigest); ok {
		t.digest(ctx, b)
	}
	if b, ok := caddymsa.As[caddymsa.Lookuper](t.b, caddymsa.CapLookup); ok && t.answer.Result == "" {
		id, err := b.Lookup(ctx, t.peer, t.q.User)
		t.heard("known", id, err)
	}
	slices.SortFunc(t.answer.Mechanisms, func(x, y string) int { return slices.Index(t.srv.Mechanisms, x) - slices.Index(t.srv.Mechanisms, y) })
}

func (t *backendTest) scram(ctx context.Context, b caddymsa.SCRAMStore) {
	key, id, err := b.SCRAMCredential(ctx, t.peer, t.q.User)
	if err == nil && t.q.Password != "" {
		made, failed := sasl.NewSCRAMCredential(t.q.Password, key.Salt, key.Iterations)
		if failed != nil || string(made.StoredKey) != string(key.StoredKey) {
			err = caddymsa.ErrWrongPassword
		}
	}
	t.heard(t.yes(), id, err, sasl.SCRAMSHA256Plus, sasl.SCRAMSHA256)
}

// digest tries the name as it is, in each realm.
func (t *backendTest) digest(ctx context.Context, b caddymsa.DigestStore) {
	no := caddymsa.ErrUnknownUser
	for _, realm := range t.srv.Realms {
		candidates, err := b.DigestCredentials(ctx, t.peer, t.q.User, realm)
		if err != nil && !errors.Is(err, caddymsa.ErrCredentials) {
			t.heard("", caddymsa.Identity{}, err)
			return
		}
		for _, c := range candidates {
			if t.q.Password == "" || fits(c, t.q.User, realm, t.q.Password) {
				t.heard(t.yes(), c.Identity, c.Refused, sasl.DigestMD5)
				return
			}
			err = caddymsa.ErrWrongPassword
		}
		if err != nil {
			no = caddymsa.MoreTelling(no, err)
		}
	}
	t.heard("", caddymsa.Identity{}, no)
}

// fits tells whether a client that says so would get in with the password.
func fits(c caddymsa.DigestCredential, user, realm, password string) bool {
	if c.HA1 != nil {
		return *c.HA1 == sasl.DigestHA1(user, realm, password)
	}
	for _, form := range sasl.PasswordForms(c.Password) {
		if form == password {
			return true
		}
	}
	return false
}

// yes is what a stored credential says: a password was tried against it, or it is just there.
func (t *backendTest) yes() string {
	if t.q.Password == "" {
		return "known"
	}
	return "accepted"
}

// heard takes one of the backend's words down. A yes outweighs a no: mechanisms have
// credentials of their own.
func (t *backendTest) heard(yes string, id caddymsa.Identity, err error, mechanisms ...string) {
	answer := &t.answer
	switch {
	case errors.Is(err, caddymsa.ErrCredentials):
		if t.no == nil {
			t.no = err
		}
		t.no = caddymsa.MoreTelling(t.no, err)
		if answer.Result == "" || answer.Result == "refused" {
			answer.Result, answer.Reason, answer.Error = "refused", caddymsa.Reason(t.no), t.no.Error()
		}
		return
	case err != nil:
		answer.Result, answer.Reason, answer.Error = "cannot_tell", "", err.Error()
		return
	}
	if answer.Result != "cannot_tell" && answer.Result != "accepted" {
		answer.Result, answer.Reason, answer.Error = yes, "", ""
	}
	for _, m := range mechanisms {
		if slices.Contains(t.srv.Mechanisms, m) {
			answer.Mechanisms = append(answer.Mechanisms, m)
		}
	}
	answer.Attributes, answer.Addresses = id.Attributes, nil
	for _, p := range id.Addresses {
		answer.Addresses = append(answer.Addresses, p.String())
	}
}
