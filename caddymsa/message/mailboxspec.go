package message

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
)

// address reads an addr-spec, with what RFC 5322 section 4.4 allows in it.
func address(tokens []token) (mailaddr.Address, error) {
	at := slices.IndexFunc(tokens, func(t token) bool { return t.kind == '@' })
	if at < 0 {
		return mailaddr.Address{}, fmt.Errorf("%q is not an address; a name with a comma or a semicolon needs quotes", shortened(tokens))
	}
	var local, exact strings.Builder
	if !dotted(tokens[:at], func(t token) bool {
		if t.kind == 'q' {
			local.WriteString(unquote(t.text))
		} else {
			local.WriteString(t.text)
		}
		exact.WriteString(t.text)
		return true
	}) {
		return mailaddr.Address{}, fmt.Errorf("%q is not an address; an address behind a name needs angle brackets", shortened(tokens))
	}
	var domain strings.Builder
	host := tokens[at+1:]
	switch {
	case len(host) == 1 && host[0].kind == '[':
		domain.WriteString(host[0].text)
	case !dotted(host, func(t token) bool { domain.WriteString(t.text); return t.kind != 'q' && isDomainText(t.text) }):
		return mailaddr.Address{}, fmt.Errorf("the domain of %q is malformed", shortened(tokens))
	}
	a := mailaddr.Address{Exact: exact.String() + "@" + domain.String(), Local: local.String(), Domain: domain.String()}
	if strings.ContainsRune(a.Exact, escape) {
		return mailaddr.Address{}, errControl
	}
	if !utf8.ValidString(a.Exact) {
		return mailaddr.Address{}, errors.New("an address that is not in UTF-8")
	}
	if _, err := mailaddr.ASCIIDomain(a.Domain); err != nil {
		return mailaddr.Address{}, fmt.Errorf("the domain of %q is malformed", shortened(tokens))
	}
	return a, nil
}

// dotted calls each for words with dots between, and for the dots. It is false if there is anything else.
func dotted(tokens []token, each func(token) bool) bool {
	for i, t := range tokens {
		word := t.kind == 'a' || t.kind == 'q'
		if word != (i%2 == 0) || !word && t.kind != '.' || !each(t) {
			return false
		}
	}
	return len(tokens)%2 == 1
}

func isDomainText(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return r < utf8.RuneSelf && r != '-' && r != '.' && r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
}

// shortened is what was written, safe to be shown.
func shortened(tokens []token) string {
	const most = 60
	var b strings.Builder
	for i, t := range tokens {
		if t.apart && i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(t.text)
		if b.Len() > most {
			break
		}
	}
	s := strings.ToValidUTF8(b.String(), "\uFFFD")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return clean(s)
}

// unrouted takes a route away: it says nothing of whose address it is, and is to be ignored.
func unrouted(tokens []token) ([]token, error) {
	colon := slices.IndexFunc(tokens, func(t token) bool { return t.kind == ':' })
	if colon < 0 {
		return tokens, nil
	}
	for route := range splitTokens(tokens[:colon], ',') {
		if len(route) > 0 && (route[0].kind != '@' || !dotted(route[1:], func(t token) bool { return t.kind != 'q' && isDomainText(t.text) })) {
			return nil, errors.New("a route that is malformed")
		}
	}
	return tokens[colon+1:], nil
}

// splitTokens gives what stands between tokens of the kind.
func splitTokens(tokens []token, kind byte) iter.Seq[[]token] {
	return func(yield func([]token) bool) {
		for {
			i := slices.IndexFunc(tokens, func(t token) bool { return t.kind == kind })
			if i < 0 {
				yield(tokens)
				return
			}
			if !yield(tokens[:i]) {
				return
			}
			tokens = tokens[i+1:]
		}
	}
}
