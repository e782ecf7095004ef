package app

import (
	"crypto/tls"
	"testing"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/smtpd"
)

// The log says what is wrong with a client whose commands are refused.
func TestHintForRefusal(t *testing.T) {
	within := new(tls.ConnectionState)
	for _, tt := range []struct {
		state *tls.ConnectionState
		verb  string
		code  int
		why   string
		want  string
	}{
		{nil, "MAIL", 530, "", hintNoSTARTTLS},
		{nil, "HELO", 530, "", hintNoSTARTTLS},
		{within, "MAIL", 530, "", hintNoAuth},
		{nil, "EHLO", 530, "Line is too long", ""},
		{nil, "EHLO", 530, smtpd.ReasonBareLF, hintBareLF},
		{within, "RCPT", 500, smtpd.ReasonBareLF, hintBareLF},
		{within, "RCPT", 421, smtpd.ReasonBareLF, hintBareLF},
		{within, "RCPT", 500, "Line is too long", ""},
	} {
		said := smtpd.Refusal{Verb: tt.verb, Reply: &smtp.SMTPError{Code: tt.code}, Reason: tt.why}
		if got := hintForRefusal(tt.state, said); got != tt.want {
			t.Errorf("%s, %d, %q: %q", tt.verb, tt.code, tt.why, got)
		}
	}
}
