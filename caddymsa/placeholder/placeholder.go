// Package placeholder puts what a client said into configured texts and paths.
//
// Client data is data (docs/dev/architecture.md, decision 9): there is one substitution, of
// the msa.* names below and nothing else, and what was put in is never looked
// at again. Other placeholders are the operator's; they are resolved once,
// while the configuration is loaded, and become literal text.
package placeholder

import (
	"errors"
	"fmt"
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// The names, as they stand between braces.
const (
	User            = "msa.user"             // who logged in; empty for a bounce
	Sender          = "msa.sender"           // the reverse path
	Recipient       = "msa.recipient"        // the whole address
	RecipientLocal  = "msa.recipient.local"  // its local part, without quoting
	RecipientDomain = "msa.recipient.domain" // its domain, as lower-case A-labels
	QueueID         = "msa.queue_id"
	RemoteIP        = "msa.remote_ip"
	Attribute       = "msa.identity.attributes." // and a name: what the auth backend says of the user
)

// prefix is what our names begin with; no other provider is asked for those.
const prefix = "msa."

var all = []string{User, Sender, Recipient, RecipientLocal, RecipientDomain, QueueID, RemoteIP, Attribute + "NAME"}

// Values are what placeholders stand for.
type Values struct {
	User      string
	Sender    string // without angle brackets; empty for <>
	Recipient string // without angle brackets
	QueueID   string
	RemoteIP  string

	Attributes map[string]string
}

// Of returns the values for one recipient of an entry.
func Of(e *queue.Entry, r *queue.Recipient) Values {
	return Values{
		User: e.User, Sender: e.Sender, Recipient: r.Complete(),
		QueueID: e.ID, RemoteIP: e.RemoteIP, Attributes: e.Attributes,
	}
}

// value returns what name stands for. Addresses come in one form, so that one mailbox has one
// spelling: local part without quoting, as c has it, "@", lower-case A-labels. An address that does
// not parse gives nothing.
func (v *Values) value(name string, c names.Case) string {
	switch name {
	case User:
		return c.Key(v.User)
	case Sender:
		return address(v.Sender, c)
	case Recipient:
		return address(v.Recipient, c)
	case RecipientLocal:
		a, _ := mailaddr.Parse(v.Recipient, true)
		return c.Key(a.Local)
	case RecipientDomain:
		a, _ := mailaddr.Parse(v.Recipient, true)
		return a.ASCIIDomain()
	case QueueID:
		return v.QueueID
	case RemoteIP:
		return v.RemoteIP
	}
	if attribute, ok := strings.CutPrefix(name, Attribute); ok {
		return c.Key(v.Attributes[attribute])
	}
	return ""
}

func address(s string, c names.Case) string {
	a, err := mailaddr.Parse(s, true)
	if err != nil {
		return ""
	}
	return a.KeyCase(c)
}

// Resolver gives the value of a placeholder that is not ours, such as
// "env.HOME", while the configuration is loaded.
type Resolver func(name string) (string, error)

// Template is a parsed text. The zero value expands to nothing.
type Template struct {
	parts []part
}

// part is literal text, or a name where that is not empty.
type part struct {
	literal string
	name    string
}

// Parse reads a text with placeholders in braces; `\{`, `\}` and `\\` stand for
// themselves without the backslash. An unknown msa.* name, a name that resolve
// refuses, any foreign name when resolve is nil, and a brace without its
// counterpart are errors.
func Parse(s string, resolve Resolver) (*Template, error) {
	t := new(Template)
	var literal strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '\\':
			if i+1 < len(s) && strings.IndexByte(`{}\`, s[i+1]) >= 0 {
				i++
			}
			literal.WriteByte(s[i])
		case '}':
			return nil, fmt.Errorf("%q: a } without its {; a literal one is written \\}", s)
		case '{':
			name, _, ok := strings.Cut(s[i+1:], "}")
			if !ok || strings.Contains(name, "{") {
				return nil, fmt.Errorf("%q: a { without its }; a literal one is written \\{", s)
			}
			i += len(name) + 1
			if !strings.HasPrefix(name, prefix) {
				text, err := foreign(name, resolve)
				if err != nil {
					return nil, err
				}
				literal.WriteString(text)
				continue
			}
			if !known(name) {
				return nil, fmt.Errorf("unknown placeholder {%s}; there are {%s}", name, strings.Join(all, "}, {"))
			}
			t.add(part{literal: literal.String()}, part{name: name})
			literal.Reset()
		default:
			literal.WriteByte(c)
		}
	}
	t.add(part{literal: literal.String()})
	return t, nil
}

func (t *Template) add(parts ...part) {
	for _, p := range parts {
		if p != (part{}) {
			t.parts = append(t.parts, p)
		}
	}
}

func foreign(name string, resolve Resolver) (string, error) {
	if resolve == nil {
		return "", fmt.Errorf("placeholder {%s} is not known here; there are {%s}", name, strings.Join(all, "}, {"))
	}
	text, err := resolve(name)
	var unknown interface{ UnknownPlaceholder() string } // package conf's
	if errors.As(err, &unknown) {
		return "", fmt.Errorf("%w, and {%s}", err, strings.Join(all, "}, {"))
	}
	if err != nil {
		return "", err // which names it
	}
	return text, nil
}

func known(name string) bool {
	for _, n := range all {
		if n == name {
			return true
		}
	}
	attribute, ok := strings.CutPrefix(name, Attribute)
	return ok && attribute != ""
}

// Expand returns the text with its values, each as it is. Use a Path for paths.
func (t *Template) Expand(v Values) string {
	var b strings.Builder
	for _, p := range t.parts {
		if p.name == "" {
			b.WriteString(p.literal)
		} else {
			b.WriteString(v.value(p.name, names.Exact))
		}
	}
	return b.String()
}
