package nexthop_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop/hoptest"
)

// go-smtp's server, a peer that is not of our making, takes what is sent.
func TestGoSMTP(t *testing.T) {
	b := &backend{}
	server := smtp.NewServer(b)
	server.Domain, server.EnableSMTPUTF8, server.EnableDSN = "hop.example", true, true
	var root string
	server.TLSConfig, root = hoptest.Certificate(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
	r := toAddress(t, l.Addr().String(), root, nil)
	message := "Subject: \u00fc\r\n\r\n.\r\n..x\r\n"
	for range 2 {
		d := msatest.NewDelivery([]byte(message), "ü@example.org", "refused@example.org")
		d.Entry.SMTPUTF8, d.Entry.EnvelopeID, d.Entry.Return = true, "e=1", "FULL"
		d.Recipients[0].ORCPT, d.Recipients[0].Notify = "rfc822;x+2By@example.org", []string{"SUCCESS"}
		out := outcomes(t, r, d)
		if out[0] != nil {
			t.Fatal(out[0])
		}
		wantReply(t, out[1], 550, smtp.EnhancedCode{5, 1, 1})
	}
	want := "alice@example.org true e=1 FULL 8BITMIME, ü@example.org x+y@example.org [SUCCESS]: " + message
	if have := b.have; len(have) != 2 || have[0] != want || have[1] != want {
		t.Errorf("have %q, want %q", have, want)
	}
}

// backend notes what it is given.
type backend struct {
	line string
	have []string
}

func (b *backend) NewSession(*smtp.Conn) (smtp.Session, error) { return b, nil }

func (b *backend) Reset() {}

func (b *backend) Logout() error { return nil }

func (b *backend) Mail(from string, o *smtp.MailOptions) error {
	b.line = fmt.Sprint(from, " ", o.UTF8, " ", o.EnvelopeID, " ", o.Return, " ", o.Body)
	return nil
}

func (b *backend) Rcpt(to string, o *smtp.RcptOptions) error {
	if strings.HasPrefix(to, "refused") {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "unknown"}
	}
	b.line += fmt.Sprint(", ", to, " ", o.OriginalRecipient, " ", o.Notify)
	return nil
}

func (b *backend) Data(r io.Reader) error {
	m, err := io.ReadAll(r)
	b.have = append(b.have, b.line+": "+string(m))
	return err
}
