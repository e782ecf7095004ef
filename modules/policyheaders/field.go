package policyheaders

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

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
	return message.Unstructured(f.name, value, s.Entry.SMTPUTF8)
}

func randomID() string { return rand.Text() }
