package authldap

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"
)

// template is a DN or a filter of the operator's with {user}, {local} and {domain} in it. What
// replaces them is escaped, so that it is a value and nothing else.
type template struct {
	parts  []string // text and names of placeholders, in turn
	escape func(string) string
}

var placeholder = regexp.MustCompile(`\{[^{}]*\}`)

func newTemplate(text string, escape func(string) string) (t template, err error) {
	t.escape = escape
	end := 0
	for _, at := range placeholder.FindAllStringIndex(text, -1) {
		name := text[at[0]+1 : at[1]-1]
		if !slices.Contains([]string{"user", "local", "domain"}, name) {
			return t, fmt.Errorf("{%s} is not known; there are {user}, {local} and {domain}", name)
		}
		t.parts = append(t.parts, text[end:at[0]], name)
		end = at[1]
	}
	t.parts = append(t.parts, text[end:])
	return t, nil
}

// newDN takes a DN (RFC 4514), into which values are escaped.
func newDN(text string) (template, error) {
	t, err := newTemplate(text, ldap.EscapeDN)
	if err == nil {
		sample, _ := t.expand("alice@example.org")
		if _, parseErr := ldap.ParseDN(sample); parseErr != nil {
			err = fmt.Errorf("%q is not a DN (for example ou=people,dc=example,dc=org): %w", text, parseErr)
		}
	}
	return t, err
}

// newBindName takes a DN, or what else the server takes for a name to bind with: Active Directory
// knows alice@corp.example.org and CORP\alice. Nothing has to be escaped in those.
func newBindName(text string) (t template, isDN bool, err error) {
	if before, _, _ := strings.Cut(text, "{"); strings.Contains(before, "=") {
		t, err = newDN(text)
		return t, true, err
	}
	t, err = newTemplate(text, func(value string) string { return value })
	return t, false, err
}

// newFilter takes a filter (RFC 4515), into which values are escaped.
func newFilter(text string) (template, error) {
	t, err := newTemplate(text, ldap.EscapeFilter)
	if err == nil {
		sample, _ := t.expand("alice@example.org")
		if _, parseErr := ldap.CompileFilter(sample); parseErr != nil {
			err = fmt.Errorf("%q is not a filter (for example (&(objectClass=person)(mail={user}))): %w", text, parseErr)
		}
	}
	return t, err
}

// has tells whether the placeholder occurs.
func (t template) has(name string) bool {
	for i := 1; i < len(t.parts); i += 2 {
		if t.parts[i] == name {
			return true
		}
	}
	return false
}

// fixed tells whether the text is the same for all names.
func (t template) fixed() bool { return len(t.parts) < 2 }

// errNoName says that nothing stands where the template wants a name: nobody is meant.
var errNoName = errors.New("no such part of the name")

// expand returns the text for a name.
func (t template) expand(name string) (string, error) {
	local, domain := split(name)
	var text strings.Builder
	for i, part := range t.parts {
		if i%2 == 1 {
			switch part {
			case "user":
				part = name
			case "local":
				part = local
			case "domain":
				part = domain
			}
			if part == "" {
				return "", errNoName
			}
			part = t.escape(part)
		}
		text.WriteString(part)
	}
	return text.String(), nil
}

// split cuts a name at its last "@".
func split(name string) (local, domain string) {
	if i := strings.LastIndexByte(name, '@'); i >= 0 {
		return name[:i], name[i+1:]
	}
	return name, ""
}
