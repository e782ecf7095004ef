package policyheaders

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/message"
	"github.com/caddy-msa/caddy-msa/caddymsa/placeholder"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// reserved are fields, besides those that there can be but one of, that the server or RFC 5322 and
// MIME have their own rules for.
var reserved = []string{"Received", "Return-Path", "DKIM-Signature", "Resent-Bcc", "MIME-Version"}

// maxName leaves room for a value in the line.
const maxName = 60

// parseField reads "Name: value".
func parseField(text string) (field, error) {
	name, value, ok := strings.Cut(text, ":")
	if name = strings.TrimSpace(name); !ok || !message.IsName(name) || len(name) > maxName {
		return field{}, fmt.Errorf("%q is not a header field; write it as X-Gateway: msa.example.org, with a name of at most %d characters", text, maxName)
	}
	if has(once, name) || has(reserved, name) || strings.HasPrefix(strings.ToLower(name), "content-") {
		return field{}, fmt.Errorf("%s may not be put before messages like this", name)
	}
	// A message goes to all of its recipients, who may not know of one another.
	if strings.Contains(value, "{"+placeholder.Recipient) {
		return field{}, errors.New("there is not one {msa.recipient} of a message; there are {msa.user}, {msa.sender}, {msa.queue_id}, {msa.remote_ip} and {msa.identity.attributes.NAME}")
	}
	t, err := placeholder.Parse(strings.TrimSpace(value), func(name string) (string, error) {
		return conf.Expand("{" + name + "}")
	})
	if err != nil {
		return field{}, fmt.Errorf("%s: %w", name, err)
	}
	return field{name, t}, nil
}

// of is the field for a submission, with its CRLF.
func (f field) of(s *caddymsa.Submission) string {
	value := f.value.Expand(placeholder.Of(s.Entry, new(queue.Recipient)))
	return unstructured(f.name, value, s.Entry.SMTPUTF8)
}

// foldAt is how long lines should be at most, without CRLF (RFC 5322 section 2.1.1).
const foldAt = 78

// unstructured writes a field (RFC 5322 section 2.2.1). What clients said cannot end it: control
// characters are spaces. It is folded between words; where these cannot stand as they are, or are
// too long for a line, the value is encoded.
func unstructured(name, value string, smtputf8 bool) string {
	value = strings.ToValidUTF8(value, string(utf8.RuneError))
	words := strings.FieldsFunc(value, func(r rune) bool { return r == ' ' || unicode.IsControl(r) })
	for _, w := range words {
		ascii := !strings.ContainsFunc(w, func(r rune) bool { return r >= utf8.RuneSelf })
		if !ascii && !smtputf8 || len(w) >= maxLine || strings.HasPrefix(w, "=?") {
			words = encode(strings.Join(words, " "))
			break
		}
	}
	var b strings.Builder
	b.WriteString(name + ":")
	length := b.Len() // of the line
	for i, w := range words {
		if i > 0 && length+1+len(w) > foldAt || length+1+len(w) > maxLine {
			b.WriteString("\r\n")
			length = 0
		}
		b.WriteString(" " + w)
		length += 1 + len(w)
	}
	b.WriteString("\r\n")
	return b.String()
}

// perWord is how many octets an encoded word of 75 characters holds (RFC 2047 section 2).
const perWord = 45

// encode makes encoded words, none of which cuts a character in two (RFC 2047 section 5).
func encode(s string) (words []string) {
	for s != "" {
		n := min(perWord, len(s))
		for n < len(s) && !utf8.RuneStart(s[n]) {
			n--
		}
		words = append(words, "=?utf-8?b?"+base64.StdEncoding.EncodeToString([]byte(s[:n]))+"?=")
		s = s[n:]
	}
	return words
}

func randomID() string { return rand.Text() }
