package smtpd_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	netsmtp "net/smtp"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/smtpd"
)

// printer is a backend that prints what it is given, in the order of the calls.
type printer struct{ settings *smtpd.Settings }

func (p *printer) Settings() *smtpd.Settings                     { return p.settings }
func (p *printer) NewSession(*smtpd.Conn) (smtpd.Session, error) { return new(session), nil }
func (*session) Mechanisms() []string                            { return []string{sasl.Plain} }
func (*session) Close(end smtpd.End)                             { fmt.Println("end:", end.Reason) }
func (*session) Refused(smtpd.Refusal)                           {}
func (*transaction) Begin(context.Context) (smtpd.Body, error)   { return new(body), nil }
func (*transaction) Abort()                                      {}
func (*body) Abort(cause error)                                  { fmt.Println("aborted:", cause) }
func refuse(code int, status smtp.EnhancedCode, text string) error {
	return &smtp.SMTPError{Code: code, EnhancedCode: status, Message: text}
}
func (b *body) Write(p []byte) (int, error) { return b.octets.Write(p) }

type session struct{}

// Auth takes one user.
func (*session) Auth(context.Context, string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != "alice" || password != "secret" {
			return refuse(535, smtp.EnhancedCode{5, 7, 8}, "Authentication credentials invalid")
		}
		fmt.Println("user:", user)
		return nil
	}), nil
}

func (*session) Mail(_ context.Context, from mailaddr.Address, _ *smtpd.MailOptions) (smtpd.Transaction, error) {
	fmt.Println("sender:", from)
	return new(transaction), nil
}

type transaction struct{}

func (*transaction) Rcpt(_ context.Context, to mailaddr.Address, _ *smtpd.RcptOptions) error {
	if to.ASCIIDomain() != "example.net" {
		return refuse(550, smtp.EnhancedCode{5, 7, 1}, "Not here")
	}
	fmt.Println("recipient:", to)
	return nil
}

type body struct{ octets bytes.Buffer }

// Commit is where the message becomes durable; then the client hears the reply.
func (b *body) Commit(context.Context) (smtpd.Reply, error) {
	fmt.Printf("message: %q\n", b.octets.String())
	return smtpd.Reply{Code: 250, Enhanced: smtp.EnhancedCode{2, 0, 0}, Text: "Ok: queued as 1"}, nil
}

// A submission server with TLS from the first byte, and the standard library as its client.
func Example() {
	certified := httptest.NewTLSServer(nil) // for its certificate
	defer certified.Close()
	backend := &printer{&smtpd.Settings{Hostname: "example.com", TLS: certified.TLS.Clone()}}
	backend.settings.TLS.NextProtos = nil

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ln.Close()
	served := make(chan struct{})
	go func() {
		defer close(served)
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		smtpd.New(nc, backend, true, smtpd.Options{}).Serve()
	}()

	roots := certified.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	nc, err := tls.Dial("tcp", ln.Addr().String(), &tls.Config{RootCAs: roots, ServerName: "example.com"})
	if err != nil {
		fmt.Println(err)
		return
	}
	c, err := netsmtp.NewClient(nc, "example.com")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(c.Mail("alice@example.org") != nil) // 530 5.7.0 Authentication required
	fmt.Println(c.Auth(netsmtp.PlainAuth("", "alice", "secret", "example.com")))
	fmt.Println(c.Mail("alice@example.org"))
	fmt.Println(c.Rcpt("bob@elsewhere.example") != nil) // 550 5.7.1 Not here
	fmt.Println(c.Rcpt("bob@example.net"))
	w, err := c.Data()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Fprint(w, "Subject: hello\r\n\r\n.hidden\r\n")
	fmt.Println(w.Close())
	if err := c.Quit(); err != nil {
		fmt.Println(err)
	}
	<-served
	// Output:
	// true
	// user: alice
	// <nil>
	// sender: alice@example.org
	// <nil>
	// true
	// recipient: bob@example.net
	// <nil>
	// message: "Subject: hello\r\n\r\n.hidden\r\n"
	// <nil>
	// end: quit
}
