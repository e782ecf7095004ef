package dsn

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/caddy-msa/caddy-msa/caddymsa/enhanced"
	"github.com/caddy-msa/caddy-msa/caddymsa/xtext"
)

// Bounds of texts in a report, in octets. A line stays below the 998 of RFC 5322.
const (
	maxAddress  = 400
	maxOriginal = 500 // as ORCPT may have
	maxText     = 500
	maxSpelled  = 960 // an address of 254 octets as an ASCII report spells it
)

// printer writes texts of one report: in UTF-8 or in ASCII.
type printer struct{ utf8 bool }

// clean makes s safe in a header field: one line, no control characters, at most
// limit octets, and ASCII unless the report is UTF-8.
func (p printer) clean(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit]
		for r, n := utf8.DecodeLastRuneInString(s); r == utf8.RuneError && n == 1; r, n = utf8.DecodeLastRuneInString(s) {
			s = s[:len(s)-1]
		}
	}
	s = strings.Map(func(r rune) rune {
		switch {
		case r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029':
			return ' '
		case r == utf8.RuneError, r >= 0x80 && !p.utf8:
			return '?'
		}
		return r
	}, s)
	return strings.TrimSpace(s)
}

// address is an address with its type, as Original- and Final-Recipient want it. One of the utf-8 type has some characters
// spelled as RFC 6533 section 3 says, and in an ASCII report all that are not.
func (p printer) address(a string) string {
	if isASCII(a) {
		return "rfc822; " + p.clean(a, maxAddress)
	}
	return "utf-8; " + p.clean(p.spelled(a, ` \+=`), maxSpelled)
}

// spelled spells these characters by their numbers, and in an ASCII report all that are not.
func (p printer) spelled(a, special string) string {
	var b strings.Builder
	for _, r := range a {
		if r < ' ' || strings.ContainsRune(special, r) || r >= 0x80 && !p.utf8 {
			fmt.Fprintf(&b, `\x{%X}`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// mta is a mail server with its type: of one that has no name the address literal (RFC 3464, where it registers dns).
func (p printer) mta(name string) string {
	name = p.clean(name, maxAddress)
	if name == "" {
		return ""
	}
	if ip, err := netip.ParseAddr(name); err == nil && ip.Is4() {
		name = "[" + name + "]"
	} else if err == nil {
		name = "[IPv6:" + name + "]"
	}
	return "dns; " + name
}

// original is ORCPT as a field has it: without xtext, whatever its type (RFC 3461 section 6.3). The
// utf-8 type has an encoding of its own, which stays.
func (p printer) original(orcpt string) (string, bool) {
	kind, address, ok := strings.Cut(orcpt, ";")
	if !ok || kind == "" || address == "" {
		return "", false
	}
	most := maxOriginal
	if strings.EqualFold(kind, "utf-8") {
		if !isASCII(address) {
			address, most = p.spelled(address, ""), maxSpelled
		}
	} else if decoded, err := xtext.Decode(address); err == nil {
		address = decoded
	}
	return p.clean(kind, 64) + "; " + p.clean(address, most), true
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// mailDate is a date-time of RFC 5322.
func mailDate(t time.Time) string { return t.Format("Mon, 02 Jan 2006 15:04:05 -0700") }

// status is the part for programs (RFC 3464 section 2).
func (p printer) status(r *Report) []byte {
	var b bytes.Buffer
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s: %s\r\n", name, value)
		}
	}
	date := func(name string, t time.Time) {
		if !t.IsZero() {
			field(name, mailDate(t))
		}
	}
	field("Reporting-MTA", "dns; "+p.clean(r.Hostname, maxAddress))
	field("Original-Envelope-Id", p.clean(r.EnvelopeID, maxAddress))
	date("Arrival-Date", r.Arrival)
	for i := range r.Recipients {
		rcpt := &r.Recipients[i]
		b.WriteString("\r\n")
		if original, ok := p.original(rcpt.Original); ok {
			field("Original-Recipient", original)
		}
		field("Final-Recipient", p.address(rcpt.Final))
		field("Action", string(rcpt.Action))
		field("Status", rcpt.status())
		field("Remote-MTA", p.mta(rcpt.RemoteMTA))
		if diagnostic := p.clean(rcpt.Diagnostic, maxText); diagnostic != "" {
			field("Diagnostic-Code", "smtp; "+diagnostic)
		}
		date("Last-Attempt-Date", rcpt.LastAttempt)
		if rcpt.Action == Delayed {
			date("Will-Retry-Until", rcpt.WillRetryUntil)
		}
	}
	return b.Bytes()
}

// status is the status code, if it is one.
func (r *Recipient) status() string {
	if code, _, ok := enhanced.Cut(r.Status); ok {
		return enhanced.String(code)
	}
	switch r.Action {
	case Failed:
		return "5.0.0"
	case Delayed:
		return "4.0.0"
	}
	return "2.0.0"
}
