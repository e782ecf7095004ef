package policyheaders

import (
	"crypto/rand"
	"fmt"
	"mime"
	"strings"
	"unicode"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/message"
	"github.com/caddy-msa/caddy-msa/caddymsa/placeholder"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// reserved are fields that the server or RFC 5322 has its own rules for.
var reserved = []string{"Received", "Return-Path", "DKIM-Signature", "From", "Sender", "Date", "Message-ID", "Bcc", "Content-Type", "Content-Transfer-Encoding", "MIME-Version"}

// parseField reads "Name: value".
func parseField(text string) (field, error) {
	name, value, ok := strings.Cut(text, ":")
	if name = strings.TrimSpace(name); !ok || !message.IsName(name) {
		return field{}, fmt.Errorf("%q is no field; write it as X-Gateway: msa.example.org", text)
	}
	for _, r := range reserved {
		if strings.EqualFold(r, name) {
			return field{}, fmt.Errorf("%s may not be put before messages like this", name)
		}
	}
	repl := caddy.NewReplacer()
	t, err := placeholder.Parse(strings.TrimSpace(value), func(name string) (string, error) {
		return repl.ReplaceOrErr("{"+name+"}", true, true)
	})
	if err != nil {
		return field{}, fmt.Errorf("%s: %w", name, err)
	}
	return field{name, t}, nil
}

// of is the field for a submission, folded. What clients said cannot end it.
func (f field) of(s *caddymsa.Submission) string {
	value := f.value.Expand(placeholder.Of(s.Entry, new(queue.Recipient)))
	value = strings.Join(strings.FieldsFunc(value, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
	if !s.Entry.SMTPUTF8 {
		value = mime.QEncoding.Encode("utf-8", value) // as it is where it is ASCII
	}
	return fold(f.name+": "+value) + "\r\n"
}

// foldAt is how long lines should be at most (RFC 5322 section 2.1.1); longest is how long they
// are in no case.
const (
	foldAt  = 78
	longest = 900
)

// fold breaks a field into lines, at spaces as far as there are any.
func fold(s string) string {
	var b strings.Builder
	n := 0
	for i, word := range strings.Split(s, " ") {
		switch {
		case i == 0:
		case n+1+len(word) > foldAt && (i > 1 || n > foldAt || len(word) > longest-foldAt):
			b.WriteString("\r\n ")
			n = 1
		default:
			b.WriteByte(' ')
			n++
		}
		for len(word) > longest {
			b.WriteString(word[:longest] + "\r\n ")
			word, n = word[longest:], 1
		}
		b.WriteString(word)
		n += len(word)
	}
	return b.String()
}

func randomID() string { return rand.Text() }
