package httpsubmit

import (
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
)

// mailbox is an address, perhaps with a name: "alice@example.org", "Alice <alice@example.org>", or an object with
// the address as it is and the name as people read it.
type mailbox struct {
	mailaddr.Address
	name string
}

type mailboxes []mailbox

// read takes one, or a list.
func (m *mailboxes) read(j *jsonReader) error {
	return j.oneOrMore(func(int) error {
		one, err := readMailbox(j)
		if err == nil {
			*m = append(*m, *one)
		}
		return err
	})
}

// readMailbox takes a text, or an object.
func readMailbox(j *jsonReader) (*mailbox, error) {
	if err := j.hold(mailboxWeight); err != nil {
		return nil, err
	}
	var name, address string
	first, err := j.next()
	switch {
	case err != nil:
		return nil, j.failed(err)
	case first == '{':
		err = j.object(map[string]func() error{"name": j.into(&name), "address": j.into(&address)})
	case first == '"':
		address, err = j.text(maxShort)
		name, address = splitMailbox(address)
	default:
		err = j.unexpected(first, "a text or an object")
	}
	if err != nil {
		return nil, err
	}
	a, err := mailaddr.Parse(address, true)
	switch {
	case errors.Is(err, mailaddr.ErrNotQualified): // as the engine has it
		return nil, fault(http.StatusUnprocessableEntity, 554, smtp.EnhancedCode{5, 1, 3}, "%s is not complete: write local-part@domain.example", j.where())
	case err != nil:
		return nil, fault(http.StatusUnprocessableEntity, 501, smtp.EnhancedCode{5, 1, 3}, "%s is malformed: write local-part@domain.example, name <local-part@domain.example>, or an object with address and name", j.where())
	}
	name, err = plainText("name in "+j.where(), name, maxWord)
	if err != nil {
		return nil, err
	}
	return &mailbox{a, name}, nil
}

// splitMailbox takes the angle brackets of the last word off. Nothing else is read into a text: a list has to be one.
func splitMailbox(text string) (name, address string) {
	text = strings.TrimSpace(text)
	at := strings.LastIndexByte(text, '<')
	if at < 0 || !strings.HasSuffix(text, ">") || strings.HasPrefix(text, `"`) && strings.HasSuffix(text[:at], "@") {
		return "", text
	}
	name = strings.TrimSpace(text[:at])
	if len(name) > 1 && name[0] == '"' && name[len(name)-1] == '"' {
		name = strings.NewReplacer(`\\`, `\`, `\"`, `"`).Replace(name[1 : len(name)-1])
	}
	return name, text[at+1 : len(text)-1]
}

// String is the mailbox in a header field (RFC 5322 section 3.4, RFC 2047).
func (m *mailbox) String() string {
	switch {
	case m.name == "":
		return m.Exact
	case needsWords(m.name):
		return encodeWords(m.name) + " <" + m.Exact + ">"
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(m.name) + `" <` + m.Exact + ">"
}

// wordOctets make an encoded word of 60 characters (RFC 2047 section 2): so that one fits into a line behind the name
// of a field, too.
const wordOctets = 36

// encodeWords encodes what is not ASCII, and what only looks like an encoded word, which the library leaves as it is.
func encodeWords(s string) string {
	var words []string
	for len(s) > 0 {
		n := min(len(s), wordOctets)
		for n < len(s) && !utf8.RuneStart(s[n]) {
			n--
		}
		words = append(words, "=?utf-8?B?"+base64.StdEncoding.EncodeToString([]byte(s[:n]))+"?=")
		s = s[n:]
	}
	return strings.Join(words, " ")
}

// needsWords tells whether a text in a header must be encoded.
func needsWords(s string) bool {
	return strings.Contains(s, "=?") || strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 })
}

// header is the list in a field, folded by whoever writes it.
func (m mailboxes) header() string {
	all := make([]string, len(m))
	for i := range m {
		all[i] = m[i].String()
	}
	return strings.Join(all, ", ")
}

// utf8 tells whether an address needs SMTPUTF8.
func (m mailboxes) utf8() bool {
	for i := range m {
		if m[i].NeedsUTF8() {
			return true
		}
	}
	return false
}
