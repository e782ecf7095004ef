package httpsubmit

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
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

// UnmarshalJSON takes one, or a list.
func (m *mailboxes) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '[' {
		return json.Unmarshal(b, (*[]mailbox)(m))
	}
	if string(b) == "null" {
		return nil
	}
	*m = make(mailboxes, 1)
	return json.Unmarshal(b, &(*m)[0])
}

// UnmarshalJSON implements json.Unmarshaler.
func (m *mailbox) UnmarshalJSON(b []byte) error {
	var object struct {
		Address string `json:"address"`
		Name    string `json:"name"`
	}
	if len(b) > 0 && b[0] == '"' {
		var text string
		if err := json.Unmarshal(b, &text); err != nil {
			return err
		}
		object.Name, object.Address = splitMailbox(text)
	} else if err := unmarshalStrict(b, &object); err != nil {
		return err
	}
	a, err := mailaddr.Parse(object.Address, true)
	switch {
	case errors.Is(err, mailaddr.ErrNotQualified): // as the engine has it
		return fault(http.StatusUnprocessableEntity, 554, smtp.EnhancedCode{5, 1, 3}, "Address is not complete: write local-part@domain.example")
	case err != nil:
		return fault(http.StatusUnprocessableEntity, 501, smtp.EnhancedCode{5, 1, 3}, "Address is malformed: write local-part@domain.example, name <local-part@domain.example>, or an object with address and name")
	}
	name, err := plainText("name of a mailbox", object.Name)
	if err != nil {
		return err
	}
	m.Address, m.name = a, name
	return nil
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

// wordOctets fit into an encoded word of 75 characters (RFC 2047 section 2).
const wordOctets = 45

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

// unmarshalStrict refuses what is not known.
func unmarshalStrict(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	return d.Decode(v)
}
