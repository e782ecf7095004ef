package smtpd

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/emersion/go-smtp"
)

// param is one parameter of MAIL or RCPT (RFC 5321 section 4.1.2, Mail-parameters).
type param struct {
	name, value string // the name in upper case
	hasValue    bool
}

var errUnknownParam = errors.New("parameter is not recognized")

// parseParams reads what follows the path.
func parseParams(s string) ([]param, error) {
	if s != "" && s[0] != ' ' {
		return nil, errors.New("expected a space after the address")
	}
	var params []param
	for _, word := range strings.Fields(s) {
		name, value, hasValue := strings.Cut(word, "=")
		p := param{strings.ToUpper(name), value, hasValue}
		if !isKeyword(p.name) || !isValue(value) {
			return nil, errors.New("malformed parameter")
		}
		for _, other := range params {
			if other.name == p.name {
				return nil, fmt.Errorf("parameter %s is specified twice", p.name)
			}
		}
		params = append(params, p)
	}
	return params, nil
}

func isKeyword(s string) bool {
	for i, ch := range []byte(s) {
		if !(ch >= 'A' && ch <= 'Z' || ch >= '0' && ch <= '9' || ch == '-' && i > 0) {
			return false
		}
	}
	return s != ""
}

func isValue(s string) bool {
	for _, ch := range []byte(s) {
		if ch <= ' ' || ch == '=' || ch == 0x7f {
			return false
		}
	}
	return true
}

// size reads a number of up to 20 digits (RFC 1870 section 3); what does not fit into
// 63 bits is over any limit.
func (p param) size(into *int64) error {
	if p.value == "" || len(p.value) > 20 || strings.Trim(p.value, "0123456789") != "" {
		return errors.New("SIZE takes a number of up to 20 digits")
	}
	n, err := strconv.ParseInt(p.value, 10, 64)
	if err != nil {
		n = 1<<63 - 1
	}
	*into = n
	return nil
}

// badParam tells the parameters that are not known from those that are wrong.
func (c *Conn) badParam(p param, err error) error {
	r := paramReply(p, err)
	return c.bad(r.Code, r.EnhancedCode, r.Message)
}

func paramReply(p param, err error) *smtp.SMTPError {
	if errors.Is(err, errUnknownParam) {
		return &smtp.SMTPError{Code: 555, EnhancedCode: code(5, 5, 4), Message: "Parameter " + p.name + " is not recognized"}
	}
	return &smtp.SMTPError{Code: 501, EnhancedCode: code(5, 5, 4), Message: err.Error()}
}

// printable tells whether a decoded value can stand in a header field: no controls, and beyond ASCII
// only UTF-8, where that may be (RFC 6533 section 3).
func printable(s string, beyondASCII bool) bool {
	for _, ch := range []byte(s) {
		if ch < ' ' || ch == 0x7f || ch > 0x7f && !beyondASCII {
			return false
		}
	}
	return utf8.ValidString(s)
}
