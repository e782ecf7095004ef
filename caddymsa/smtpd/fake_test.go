package smtpd

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
)

// backend is the application, as far as the engine can see. Its fields are what a test may bend.
type backend struct {
	settings atomic.Pointer[Settings]

	refuse   error // NewSession's
	mailErr  error
	rcptErr  error
	beginErr error
	writeErr error
	commit   error
	panicAt  string // name of the call that panics
	discard  bool   // keep no messages

	mu       sync.Mutex
	calls    []string
	messages []string
	options  []*MailOptions
	rcptOpts []*RcptOptions
	ends     []End
	refusals []Refusal
	open     int // bodies and transactions that nobody has ended yet
	aborts   []error
}

func newBackend() *backend {
	b := new(backend)
	b.settings.Store(&Settings{Hostname: "msa.example.test", TLS: serverTLS(), AnnounceBeforeTLS: func() []string { return []string{"DIGEST-MD5"} }})
	return b
}

// with changes the settings before anyone has seen them.
func (b *backend) with(change func(*Settings)) *backend {
	s := *b.settings.Load()
	change(&s)
	b.settings.Store(&s)
	return b
}

func (b *backend) Settings() *Settings { return b.settings.Load() }

func (b *backend) NewSession(c *Conn) (Session, error) {
	b.note("session %v", c.RemoteAddr() != nil)
	if b.refuse != nil {
		return nil, b.refuse
	}
	return &session{b: b, c: c}, nil
}

func (b *backend) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	b.mu.Lock()
	if !b.discard {
		b.calls = append(b.calls, text)
	}
	b.mu.Unlock()
	if b.panicAt != "" && len(text) >= len(b.panicAt) && text[:len(b.panicAt)] == b.panicAt {
		panic("bug in " + text)
	}
}

func (b *backend) count(n int) {
	b.mu.Lock()
	b.open += n
	b.mu.Unlock()
}

type session struct {
	b *backend
	c *Conn
}

func (s *session) Mechanisms() []string { return []string{"PLAIN", "CHAT", "LAST"} }

var errCredentials = &smtp.SMTPError{Code: 535, EnhancedCode: smtp.EnhancedCode{5, 7, 8}, Message: "Authentication credentials invalid"}

// Auth offers PLAIN, whose password is "secret"; CHAT, which speaks first, asks twice and takes any
// initial response for an error; LAST, which is done with its first challenge. Both take "yes".
func (s *session) Auth(_ context.Context, mechanism string) (sasl.Server, error) {
	s.b.note("auth %s", mechanism)
	switch mechanism {
	case "PLAIN":
		return sasl.NewPlainServer(func(_, user, password string) error {
			switch {
			case user == "down":
				return errors.New("sql: dial tcp 10.0.0.5:5432: refused")
			case user == "wait":
				return &smtp.SMTPError{Code: 454, EnhancedCode: smtp.EnhancedCode{4, 7, 0}, Message: "Temporary authentication failure"}
			case password != "secret":
				return errCredentials
			}
			return nil
		}), nil
	case "CHAT":
		return &chat{}, nil
	}
	return &last{}, nil
}

type chat struct{ step int }

func (c *chat) Next(response []byte) ([]byte, bool, error) {
	switch c.step++; {
	case c.step == 1 && response != nil:
		return nil, false, &smtp.SMTPError{Code: 501, EnhancedCode: smtp.EnhancedCode{5, 7, 0}, Message: "This mechanism takes no initial response"}
	case c.step == 1:
		return nil, false, nil // an empty challenge
	case c.step == 2 && string(response) == "yes":
		return []byte("sure?"), false, nil
	case c.step == 3 && string(response) == "yes":
		return nil, true, nil
	}
	return nil, false, errCredentials
}

type last struct{ begun bool }

func (l *last) Next(response []byte) ([]byte, bool, error) {
	if string(response) == "yes" {
		return []byte("v=proof"), true, nil
	}
	if !l.begun {
		l.begun = true
		return []byte("?"), false, nil
	}
	return nil, false, errCredentials
}

func (s *session) Mail(_ context.Context, from mailaddr.Address, o *MailOptions) (Transaction, error) {
	s.b.note("mail %s", from.Exact)
	if s.b.mailErr != nil {
		return nil, s.b.mailErr
	}
	if from.Local == "mallory" {
		return nil, &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "Not yours"}
	}
	s.b.mu.Lock()
	if !s.b.discard {
		s.b.options = append(s.b.options, o)
	}
	s.b.mu.Unlock()
	s.b.count(1)
	return &transaction{b: s.b}, nil
}

func (s *session) Refused(r Refusal) {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	if !s.b.discard {
		s.b.refusals = append(s.b.refusals, r)
	}
}

func (s *session) Close(end End) {
	s.b.mu.Lock()
	s.b.ends = append(s.b.ends, end)
	s.b.mu.Unlock()
	s.b.note("close")
}

type transaction struct {
	b    *backend
	text bytes.Buffer
	over bool
}

func (x *transaction) finish() {
	if x.over {
		panic("transaction ended twice")
	}
	x.over = true
	x.b.count(-1)
}

func (x *transaction) Rcpt(_ context.Context, to mailaddr.Address, o *RcptOptions) error {
	x.b.note("rcpt %s", to.Exact)
	if x.b.rcptErr != nil {
		return x.b.rcptErr
	}
	if to.Local == "nobody" {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "Recipient is not served here"}
	}
	x.b.mu.Lock()
	if !x.b.discard {
		x.b.rcptOpts = append(x.b.rcptOpts, o)
	}
	x.b.mu.Unlock()
	return nil
}

func (x *transaction) Begin(context.Context) (Body, error) {
	x.b.note("begin")
	if x.b.beginErr != nil {
		return nil, x.b.beginErr
	}
	return body{x}, nil
}

func (x *transaction) Abort() {
	x.finish()
	x.b.note("drop")
}

type body struct{ *transaction }

func (y body) Write(p []byte) (int, error) {
	if y.over {
		panic("write after the end")
	}
	if len(p) == 0 {
		panic("empty write")
	}
	if y.b.panicAt == "write" {
		panic("bug in write")
	}
	if y.b.writeErr != nil {
		return 0, y.b.writeErr
	}
	if y.b.discard {
		return len(p), nil
	}
	return y.text.Write(p)
}

func (y body) Commit(context.Context) (Reply, error) {
	y.finish()
	y.b.note("commit")
	if y.b.commit != nil {
		return Reply{}, y.b.commit
	}
	if !y.b.discard {
		y.b.mu.Lock()
		y.b.messages = append(y.b.messages, y.text.String())
		y.b.mu.Unlock()
	}
	return Reply{Code: 250, Enhanced: smtp.EnhancedCode{2, 0, 0}, Text: "Ok: queued as ID"}, nil
}

func (y body) Abort(cause error) {
	y.finish()
	if cause == nil {
		panic("abort without a cause")
	}
	y.b.mu.Lock()
	y.b.aborts = append(y.b.aborts, cause)
	y.b.mu.Unlock()
	y.b.note("abort")
}

// serverTLS is made once, with a certificate of its own.
var serverTLS = sync.OnceValue(func() *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "msa.example.test"},
		DNSNames: []string{"msa.example.test"}, NotAfter: time.Now().Add(24 * 365 * 100 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
})

func clientTLS() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }
