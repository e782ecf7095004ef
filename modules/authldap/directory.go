package authldap

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
	"github.com/caddy-msa/caddy-msa/caddymsa/tableauth"
)

// directory is a set of servers that hold the same, and what is asked of them. Configurations
// that ask the same share it: a reload makes no new connections, and forgets nothing.
type directory struct {
	*options
	servers []*server
	seen    *passwd.Seen
	log     logs
	asked   atomic.Uint64

	complaints tableauth.Complaints // about entries
}

func newDirectory(o *options) (*directory, error) {
	d := &directory{options: o}
	for _, text := range o.urls {
		s, err := newServer(text, o)
		if err != nil {
			return nil, err
		}
		d.servers = append(d.servers, s)
	}
	d.seen = passwd.NewSeen(d.decoyUser)
	return d, nil
}

// Destruct implements caddy.Destructor.
func (d *directory) Destruct() error {
	for _, s := range d.servers {
		s.close()
	}
	return nil
}

// within bounds an answer; within another bound it changes nothing.
func (d *directory) within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d.timeout, fmt.Errorf("no answer within %s", d.timeout))
}

// do asks the servers in order until one answers. Of the time that is left each may take its share,
// so that one that hangs does not cost the answer. Those that failed of late come last.
func (d *directory) do(ctx context.Context, p purpose, f func(*server, *conn) error) error {
	var good, avoided []*server
	for _, s := range d.servers {
		if s.avoided() {
			avoided = append(avoided, s)
		} else {
			good = append(good, s)
		}
	}
	var errs []error
	all := append(good[:len(good):len(good)], avoided...)
	for i, s := range all {
		shares := len(good) - i
		if shares <= 0 {
			shares = len(all) - i
		}
		err := d.try(ctx, s, p, shares, f)
		if !errors.As(err, new(serverError)) {
			return err
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

// serverError is one that another server may not have.
type serverError struct {
	url   string
	cause error
}

func (e serverError) Error() string { return e.url + ": " + e.cause.Error() }
func (e serverError) Unwrap() error { return e.cause }

func (d *directory) try(ctx context.Context, s *server, p purpose, shares int, f func(*server, *conn) error) error {
	attempt := ctx
	if deadline, ok := ctx.Deadline(); ok && shares > 1 {
		share := time.Until(deadline) / time.Duration(shares)
		var cancel context.CancelFunc
		attempt, cancel = context.WithTimeoutCause(ctx, share, fmt.Errorf("no answer within %s", share))
		defer cancel()
	}
	var answered bool
	err := s.do(attempt, p, func(c *conn) error { return d.prepare(c, p) }, func(c *conn) error {
		err := f(s, c)
		answered = !broken(err)
		return err
	})
	switch {
	case answered && attempt.Err() == nil:
		if s.worked() {
			d.log.Load().Info("LDAP server answers again", zap.String("server", s.url))
		}
		return err
	case err == nil:
		return nil
	case errors.Is(err, errBusy) || errors.Is(ctx.Err(), context.Canceled):
		return serverError{s.url, err}
	}
	if !s.avoided() {
		d.log.Load().Warn("LDAP server does not answer as it should; others are asked first for a while",
			zap.String("server", s.url), zap.Duration("while", avoidTime), zap.Error(err))
	}
	s.failed()
	return serverError{s.url, err}
}

// prepare binds a new connection for searches as the service account.
func (d *directory) prepare(c *conn, p purpose) (err error) {
	if p == logins {
		return nil
	}
	switch {
	case d.external:
		err = c.ExternalBind()
	case d.bindDN != "":
		err = c.Bind(d.bindDN, d.bindPassword)
	}
	if err != nil {
		return fmt.Errorf("binding as the service account: %w", err)
	}
	return nil
}

// bind tells whether the password is that of dn, and runs then on the connection if it is.
// caddymsa.ErrCredentials says that it is not.
func (d *directory) bind(ctx context.Context, name, dn, password string, then func(*conn) error) error {
	if dn == "" || password == "" { // which would be anonymous, and a success (RFC 4513 section 5.1.2)
		return caddymsa.ErrCredentials
	}
	return d.do(ctx, logins, func(s *server, c *conn) error {
		err := c.Bind(dn, password)
		v := judge(err)
		if v == doubtful {
			v = d.doubt(s, c, name)
		}
		switch v {
		case accepted:
			s.isWilling()
			if then != nil {
				return then(c)
			}
			return nil
		case refused:
			s.isWilling()
			return refusal{err}
		}
		return err
	})
}

// refusal is an answer, for which no other server is asked.
type refusal struct{ cause error }

func (r refusal) Error() string { return "refused: " + r.cause.Error() }

// Unwrap hides the result code, which has been judged.
func (r refusal) Unwrap() error { return caddymsa.ErrCredentials }

// doubt settles a doubtful answer: a server that refuses a name that nobody has in the usual way
// meant the user. Usually it has been seen doing so a moment ago.
func (d *directory) doubt(s *server, c *conn, name string) verdict {
	if s.seemsWilling() || judge(c.Bind(d.nobody(name), "nobody")) == refused {
		return refused
	}
	return cannotTell
}

// isWilling notes that the server judges users.
func (s *server) isWilling() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.willing = s.now()
}

func (s *server) seemsWilling() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.willing.IsZero() && s.now().Sub(s.willing) < avoidTime
}

// probe asks for somebody who does not exist, to see whether the settings fit the directory.
func (d *directory) probe(ctx context.Context) error {
	stranger := "nobody@invalid"
	if len(d.domains) > 0 {
		stranger = "nobody@" + d.domains[0]
	}
	if d.service {
		_, err := d.find(ctx, stranger)
		if errors.Is(err, caddymsa.ErrCredentials) {
			return nil
		}
		return err
	}
	ctx, cancel := d.within(ctx)
	defer cancel()
	err := d.bind(ctx, stranger, d.nobody(stranger), "nobody", nil)
	if errors.Is(err, caddymsa.ErrCredentials) {
		return nil
	}
	return err
}
