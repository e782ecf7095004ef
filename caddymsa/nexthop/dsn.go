package nexthop

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// mailOptions are what goes on with MAIL; the client leaves out what the next
// hop does not offer, SMTPUTF8 excepted.
func (s *session) mailOptions() *smtp.MailOptions {
	e := s.delivery.Entry
	utf8, _ := s.client.Extension("SMTPUTF8")
	o := &smtp.MailOptions{Size: e.Size, UTF8: e.SMTPUTF8 && utf8}
	switch r := smtp.DSNReturn(e.Return); r {
	case smtp.DSNReturnFull, smtp.DSNReturnHeaders:
		o.Return = r
	}
	if isPrintable(e.EnvelopeID) {
		o.EnvelopeID = e.EnvelopeID
	}
	return o
}

// rcptOptions are NOTIFY and ORCPT (RFC 3461). What the client would not send
// is left out rather than tried again for ever: an original recipient that is
// neither rfc822 nor utf-8, or not well-formed.
func rcptOptions(r *queue.Recipient) *smtp.RcptOptions {
	if len(r.Notify) == 0 && r.ORCPT == "" {
		return nil
	}
	o := new(smtp.RcptOptions)
	for _, n := range r.Notify {
		switch n := smtp.DSNNotify(strings.ToUpper(n)); n {
		case smtp.DSNNotifyNever, smtp.DSNNotifyDelayed, smtp.DSNNotifyFailure, smtp.DSNNotifySuccess:
			if !slices.Contains(o.Notify, n) {
				o.Notify = append(o.Notify, n)
			}
		}
	}
	if len(o.Notify) > 1 && slices.Contains(o.Notify, smtp.DSNNotifyNever) {
		o.Notify = nil // contradictory: the default
	}
	kind, address, _ := strings.Cut(r.ORCPT, ";")
	switch strings.ToLower(kind) {
	case "rfc822":
		if a, ok := decodeXtext(address); ok && a != "" && isPrintable(a) {
			o.OriginalRecipientType, o.OriginalRecipient = smtp.DSNAddressTypeRFC822, a
		}
	case "utf-8":
		if a, ok := decodeUnitext(address); ok && a != "" && isGraphic(a) {
			o.OriginalRecipientType, o.OriginalRecipient = smtp.DSNAddressTypeUTF8, a
		}
	}
	return o
}

// decodeXtext decodes "+HH" (RFC 3461, section 4).
func decodeXtext(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '+' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", false
		}
		c, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", false
		}
		b.WriteByte(byte(c))
		i += 2
	}
	return b.String(), true
}

var embedded = regexp.MustCompile(`\\x\{([0-9A-Fa-f]{1,6})\}`)

// decodeUnitext decodes "\x{HEX}" (RFC 6533, section 3).
func decodeUnitext(s string) (string, bool) {
	s = embedded.ReplaceAllStringFunc(s, func(m string) string {
		r, _ := strconv.ParseUint(m[3:len(m)-1], 16, 32)
		return string(rune(r))
	})
	return s, utf8.ValidString(s)
}

func isPrintable(s string) bool {
	return isASCII(s) && isGraphic(s)
}

func isGraphic(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}
