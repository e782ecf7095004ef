package smtpd

import (
	"bytes"

	"github.com/emersion/go-smtp"
)

// newlines looks for octets that mail must not have: CR or LF alone (RFC 5321 section
// 2.3.8) and NUL. Servers disagree on what they mean, and messages are smuggled
// through such gaps. They are refused or normalized.
type newlines struct {
	normalize bool
	lastCR    bool // the octet before was a CR whose LF has not come yet
	scratch   []byte
}

// Refusals of what a message is made of.
var (
	ErrBareCR = &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 6, 0}, Message: "Message has a bare CR: lines must end in CRLF"}
	ErrBareLF = &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 6, 0}, Message: "Message has a bare LF: lines must end in CRLF"}
	ErrNUL    = &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 6, 0}, Message: "Message has a NUL octet"}
)

// check returns what is to be stored of p, which is not empty, valid until the next call. The error
// says what is unsound; nothing may be stored after it.
func (n *newlines) check(p []byte) ([]byte, error) {
	switch {
	case n.sound(p):
		return p, nil
	case n.normalize:
		return n.rewrite(p), nil
	}
	return nil, n.culprit(p)
}

// sound is the fast path. It leaves lastCR as it is if p is not sound. When
// normalizing, a CR at p's end is not sound, as its LF belongs to what is stored with it.
func (n *newlines) sound(p []byte) bool {
	if n.lastCR && (n.normalize || p[0] != '\n') || bytes.IndexByte(p, 0) >= 0 {
		return false
	}
	rest := p
	if n.lastCR {
		rest = p[1:]
	}
	for len(rest) > 0 {
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			i = bytes.IndexByte(rest, '\r')
			if i >= 0 && (i < len(rest)-1 || n.normalize) {
				return false
			}
			n.lastCR = i >= 0
			return true
		}
		if i == 0 || rest[i-1] != '\r' || bytes.IndexByte(rest[:i-1], '\r') >= 0 {
			return false
		}
		rest = rest[i+1:]
	}
	n.lastCR = false
	return true
}

// culprit finds the first octet that makes p unsound.
func (n *newlines) culprit(p []byte) error {
	cr := n.lastCR
	for _, ch := range p {
		switch {
		case cr && ch != '\n':
			return ErrBareCR
		case !cr && ch == '\n':
			return ErrBareLF
		case ch == 0:
			return ErrNUL
		}
		cr = ch == '\r'
	}
	return ErrBareCR // the last octet of all
}

// rewrite makes CRLF of every line end and drops NUL. A CR at the end waits for what follows it.
func (n *newlines) rewrite(p []byte) []byte {
	n.scratch = n.scratch[:0]
	for _, ch := range p {
		switch {
		case ch == 0:
			continue
		case ch == '\n': // whether a CR came before or not
			n.scratch = append(n.scratch, '\r', '\n')
			n.lastCR = false
			continue
		case n.lastCR:
			n.scratch = append(n.scratch, '\r', '\n')
			n.lastCR = false
		}
		if ch == '\r' {
			n.lastCR = true
			continue
		}
		n.scratch = append(n.scratch, ch)
	}
	return n.scratch
}

// end returns what is still to be stored of a message that is whole.
func (n *newlines) end() ([]byte, error) {
	switch {
	case !n.lastCR:
		return nil, nil
	case n.normalize:
		return []byte("\r\n"), nil
	}
	return nil, ErrBareCR
}
