package conf

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"unicode"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/textfile"
)

// Secret is a configured password, token or key, best a placeholder such as {env.NAME} or
// {file./path}: a literal one is shown by the admin API. It is marshalled as it is, being part
// of the configuration, and printed as REDACTED, whatever the verb.
type Secret string

const redacted = "REDACTED"

// String returns REDACTED, or nothing for an empty secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// Format prints String.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// UnmarshalText reads the value of a setting.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = Secret(text)
	return nil
}

// Resolve puts in what the placeholders stand for, and warns of a literal secret. name is the
// setting's. Line ends after it are taken off, as files have one;
// of a file also a byte order mark and white space around it.
func (s Secret) Resolve(name string, log *zap.Logger) (Resolved, error) {
	value, err := expand(string(s))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if s.Literal() {
		log.Warn("a secret is in the configuration, which the admin API shows; use {env.NAME} or {file./path}", zap.String("setting", name))
	}
	if value, err = asMeant(value, strings.Contains(string(s), "{file.")); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return NewResolved(value), nil
}

// asMeant takes away from a secret what editors leave in files.
func asMeant(value string, file bool) (string, error) {
	if textfile.IsUTF16([]byte(value)) || strings.ContainsRune(value, 0) {
		return "", errors.New("the secret contains NUL or is UTF-16; save it as UTF-8")
	}
	value = strings.TrimPrefix(value, textfile.ByteOrderMark)
	if file {
		return strings.TrimSpace(value), nil
	}
	return strings.TrimRight(value, "\r\n"), nil
}

// Literal tells whether the secret itself stands in the configuration. It goes by how the setting
// is written, never by what the secret is.
func (s Secret) Literal() bool {
	open := strings.IndexByte(string(s), '{')
	return s != "" && (open < 0 || !strings.Contains(string(s)[open:], "}"))
}

// Shows tells whether a password that is in use stands in one of the settings: as the whole of it, or where connection
// strings have a password. That some other part is the same word does not count.
func Shows(password string, settings ...string) bool {
	if password == "" {
		return false
	}
	for _, s := range settings {
		for _, p := range []string{password, url.QueryEscape(password), url.PathEscape(password)} {
			if s == p || strings.Contains(s, ":"+p+"@") || strings.Contains(s, "password="+p) || strings.Contains(s, "password='"+p+"'") {
				return true
			}
		}
	}
	return false
}

// DatabasePassword is what the log is told of one that Shows.
const DatabasePassword = "the database's password is in the configuration, which the admin API shows; write it as {env.NAME} or {file./path}"

// Resolved is a secret in use. It is a function, so that nothing that prints, marshals or logs it
// shows what it is.
type Resolved func() string

// NewResolved keeps a secret that did not come from a setting of its own.
func NewResolved(value string) Resolved { return func() string { return value } }

// Value is the secret itself.
func (r Resolved) Value() string {
	if r == nil {
		return ""
	}
	return r()
}

// String returns REDACTED, or nothing if there is no secret.
func (r Resolved) String() string { return Secret(r.Value()).String() }

// Format prints String.
func (r Resolved) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, r.String()) }

// MarshalText returns String.
func (r Resolved) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// Redact takes the secrets out of a text that somebody else wrote, such as a server's error. One
// that is short, or a word that texts have in them anyway, is taken out only where a password stands in an
// address, as in user:password@host: elsewhere that would garble the text and tell the secret by the gaps.
func Redact(text string, secrets ...Resolved) string {
	for _, r := range secrets {
		s := r.Value()
		if unlikely(s) {
			text = strings.ReplaceAll(text, s, redacted)
		} else if s != "" {
			text = strings.ReplaceAll(text, ":"+s+"@", ":"+redacted+"@")
		}
	}
	return text
}

// unlikely tells whether a text has s in it only if it repeats the secret.
func unlikely(s string) bool {
	letters := strings.ContainsFunc(s, unicode.IsLower)
	others := strings.ContainsFunc(s, func(r rune) bool {
		return !unicode.IsLower(r) && r != '.' && r != ':' && r != '-' && r != '_' && r != '/'
	})
	return len(s) >= 20 || len(s) >= 8 && letters && others
}
