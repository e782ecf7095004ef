package nexthop

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/xtext"
)

// mailCommand is MAIL with the parameters that the next hop offers.
func mailCommand(m *Message, x *extensions) string {
	o := &m.Options
	b := []byte("MAIL FROM:<" + m.Sender + ">")
	if x.eightBit {
		b = append(b, " BODY=8BITMIME"...)
	}
	if x.sized && o.Size > 0 {
		b = strconv.AppendInt(append(b, " SIZE="...), o.Size, 10)
	}
	if x.utf8 && o.UTF8 {
		b = append(b, " SMTPUTF8"...)
	}
	if x.dsn {
		if o.Return == smtp.DSNReturnFull || o.Return == smtp.DSNReturnHeaders {
			b = append(b, " RET="+o.Return...)
		}
		if o.EnvelopeID != "" && isPrintable(o.EnvelopeID) {
			b = append(b, " ENVID="+xtext.Encode(o.EnvelopeID)...)
		}
	}
	if x.priority && o.Priority != 0 {
		b = strconv.AppendInt(append(b, " MT-PRIORITY="...), int64(o.Priority), 10)
	}
	return string(b)
}

// rcptCommand is RCPT with NOTIFY and ORCPT (RFC 3461), where the next hop takes them. What would not be
// well-formed is left out, rather than tried again until the message expires.
func rcptCommand(r *Recipient, x *extensions, utf8 bool) string {
	command := "RCPT TO:<" + r.Address + ">"
	if !x.dsn {
		return command
	}
	if notify := r.Options.Notify; len(notify) > 0 {
		words := make([]string, len(notify))
		for i, n := range notify {
			words[i] = string(n)
		}
		command += " NOTIFY=" + strings.Join(words, ",")
	}
	if orcpt := originalRecipient(r.Options.ORCPT, utf8); orcpt != "" {
		command += " ORCPT=" + orcpt
	}
	return command
}

func hasParameters(r *Recipient) bool { return len(r.Options.Notify) > 0 || r.Options.ORCPT != "" }

// ofParameters tells whether a refusal may be of parameters, which some hops do not know that they offer.
func ofParameters(e *smtp.SMTPError) bool {
	switch e.Code {
	case 501, 504, 555:
		return e.EnhancedCode == (smtp.EnhancedCode{}) || e.EnhancedCode[1] == 5 || e.EnhancedCode[1] == 3
	}
	return false
}

// How much is not said of what a hop offers.
const (
	withAll       = iota
	withoutExtras // DSN, SIZE and MT-PRIORITY
	withoutBody   // nor BODY
)

// plainer has less said from now on, after MAIL was refused; false if that is of no use.
func (d *delivery) plainer(x *extensions, e *smtp.SMTPError) bool {
	switch {
	case !ofParameters(e):
		return false
	case x.dsn || x.sized || x.priority:
		d.plain = withoutExtras
	case x.eightBit:
		d.plain = withoutBody
	default:
		return false
	}
	return true
}

// plainly takes from a connection's offers what the hop has refused of this message; the next one gets another connection.
func (d *delivery) plainly(p *connection) {
	if x := &p.offers; d.plain > withAll {
		x.dsn, x.sized, x.priority, p.makeshift = false, false, false, true
		x.eightBit = x.eightBit && d.plain < withoutBody
	}
}

// maxOriginal is the length of ORCPT that every hop takes (RFC 3461 section 4.2).
const maxOriginal = 500

// originalRecipient is the value of ORCPT as it may go on, "" if it may not. To hops without SMTPUTF8
// letters go by their numbers (RFC 6533 section 3).
func originalRecipient(value string, utf8ok bool) string {
	kind, address, ok := strings.Cut(value, ";")
	if _, err := xtext.Decode(address); err != nil || !ok || kind == "" || address == "" || !utf8.ValidString(value) {
		return ""
	}
	var b strings.Builder
	b.WriteString(kind + ";")
	for _, r := range address {
		switch {
		case r == '=', r <= ' ', r == 0x7f:
			return ""
		case r < utf8.RuneSelf || utf8ok:
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, `\x{%X}`, r)
		}
	}
	isAtom := func(c rune) bool {
		return c > ' ' && c < 0x7f && !strings.ContainsRune(`()<>@,;:\".[]+=`, c)
	}
	if b.Len() > maxOriginal || strings.ContainsFunc(kind, func(c rune) bool { return !isAtom(c) }) || !isASCII(address) && !strings.EqualFold(kind, "utf-8") {
		return ""
	}
	return b.String()
}

// notifyOptions are NOTIFY's words, of any spelling: none if they say nothing, or contradict each other.
func notifyOptions(words []string) (all []smtp.DSNNotify) {
	for _, word := range words {
		switch n := smtp.DSNNotify(strings.ToUpper(word)); n {
		case smtp.DSNNotifyNever, smtp.DSNNotifyDelayed, smtp.DSNNotifyFailure, smtp.DSNNotifySuccess:
			if !slices.Contains(all, n) {
				all = append(all, n)
			}
		}
	}
	if len(all) > 1 && slices.Contains(all, smtp.DSNNotifyNever) {
		return nil
	}
	return all
}

// mergeNotify is what has to be asked for when a recipient was given twice: whatever either asks for.
func mergeNotify(a, b []smtp.DSNNotify) (all []smtp.DSNNotify) {
	if len(a) == 0 && len(b) == 0 {
		return nil
	}
	for _, list := range [][]smtp.DSNNotify{a, b} {
		if len(list) == 0 { // the default
			list = []smtp.DSNNotify{smtp.DSNNotifyFailure, smtp.DSNNotifyDelayed}
		}
		for _, n := range list {
			if n != smtp.DSNNotifyNever && !slices.Contains(all, n) {
				all = append(all, n)
			}
		}
	}
	if all == nil {
		return []smtp.DSNNotify{smtp.DSNNotifyNever}
	}
	return all
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func isPrintable(s string) bool { return isASCII(s) && !hasControl(s) }

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}
