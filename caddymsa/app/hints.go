package app

import (
	"crypto/tls"
	"errors"
	"os"
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa/smtpd"
)

// What an operator can do for clients that do not get as far as submitting. None of it goes to the client.
const (
	hintTLSOnClear  = "the client began with TLS, but TLS begins with STARTTLS on this port; set the client to STARTTLS, or to a listen_tls port (465)"
	hintSMTPOnTLS   = "the client began in clear text, but TLS begins with the first byte on this port; set the client to SSL/TLS, or to a listen port (587) with STARTTLS"
	hintHTTP        = "the client speaks HTTP; this port is for mail submission"
	hintSilentOnTLS = "the client sent nothing; it may be waiting for a greeting in clear text: set it to SSL/TLS, or to a listen port (587) with STARTTLS"
	hintOldTLS      = "the client knows no TLS version that is accepted here (TLS 1.2 and 1.3 by default); update it, or put a relay of your own before it (docs/msa.md, Old devices)"
	hintCertificate = "the client does not trust the certificate, or does not find its name in it"
	hintNoSTARTTLS  = "the client does not use STARTTLS; set it to TLS or STARTTLS, or put a relay of your own before it (docs/msa.md, Old devices)"
	hintBareLF      = "the client ends its lines in LF alone, and mail needs CRLF (openssl s_client: use -crlf)"
	hintNoAuth      = "the client does not log in; give it a user and a password, or put a relay of your own before it (docs/msa.md, Old devices)"
)

// hintForRefusal explains a command that came too early, or as no line of SMTP. EHLO alone, which is refused for its form,
// says nothing of what the client would do next.
func hintForRefusal(state *tls.ConnectionState, r smtpd.Refusal) string {
	switch {
	case r.Reason == smtpd.ReasonBareLF:
		return hintBareLF
	case r.Reply.Code != 530 || r.Verb == "EHLO":
		return ""
	case state == nil:
		return hintNoSTARTTLS
	}
	return hintNoAuth
}

// hintForEnd explains a session that came to nothing.
func hintForEnd(end smtpd.End) string {
	switch {
	case end.Spoke == "TLS":
		return hintTLSOnClear
	case end.Spoke == "HTTP":
		return hintHTTP
	case end.Spoke == "SMTP":
		return hintSMTPOnTLS
	case end.Reason != smtpd.EndTLS || end.Err == nil:
		return ""
	case end.Commands == 0 && errors.Is(end.Err, os.ErrDeadlineExceeded):
		return hintSilentOnTLS
	}
	text := end.Err.Error()
	switch alert, ok := errors.AsType[tls.AlertError](end.Err); {
	case strings.Contains(text, "unsupported versions") || strings.Contains(text, "protocol version not supported"):
		return hintOldTLS
	case ok && strings.Contains(alert.Error(), "certificate"), strings.Contains(text, "remote error: tls:") && strings.Contains(text, "certificate"):
		return hintCertificate
	}
	return ""
}
