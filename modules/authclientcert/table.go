package authclientcert

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/textfile"
	"github.com/caddy-msa/caddy-msa/caddymsa/watch"
)

// table is a map as it was read.
type table struct {
	fold  names.Case
	users map[string]string // by key
	known map[string]*user  // by what fold makes of the name
}

// user is one of a map, which may have several lines of it.
type user struct {
	name string   // as the first line has it
	keys []string // what its fingerprint is made of
	may  []mailaddr.Pattern
}

// files are the maps in memory, by how names compare in them.
var files = map[names.Case]*watch.Source[*table]{names.Folded: source(names.Folded), names.Exact: source(names.Exact)}

func source(c names.Case) *watch.Source[*table] {
	return &watch.Source[*table]{Parse: func(r io.Reader, name string, _ int64, _ *table) (*table, error) {
		text, err := textfile.Clean(r, name)
		if err != nil {
			return nil, err
		}
		t, err := parseTable(text, c)
		if err != nil {
			return nil, fmt.Errorf("%s, %w", name, err)
		}
		return t, nil
	}}
}

// parseTable has quotes and comments as a Caddyfile has them.
func parseTable(text []byte, c names.Case) (*table, error) {
	tokens, err := caddyfile.Tokenize(text, "")
	if err != nil && !errors.Is(err, io.EOF) { // which is what an empty file makes
		return nil, err
	}
	t := &table{fold: c, users: make(map[string]string), known: make(map[string]*user)}
	for len(tokens) > 0 {
		line := tokens[0].Line
		n := slices.IndexFunc(tokens, func(token caddyfile.Token) bool { return token.Line != line })
		if n < 0 {
			n = len(tokens)
		}
		words := make([]string, n)
		for i, token := range tokens[:n] {
			words[i] = token.Text
		}
		if err := t.add(words); err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		tokens = tokens[n:]
	}
	return t, nil
}

// add takes a line's words: a name of the certificate, the user, addresses.
func (t *table) add(words []string) error {
	kind, name, ok := strings.Cut(words[0], ":")
	if !ok || !slices.Contains(kinds, kind) || name == "" {
		return fmt.Errorf("%q is not a name of a certificate; write cn:name, or another of %s", words[0], conf.And(kinds))
	}
	if len(words) < 2 || words[1] == "" {
		return errors.New("a user is missing after the name of the certificate")
	}
	k := key(t.fold, kind, name)
	if t.users[k] != "" {
		return fmt.Errorf("%s is specified twice", words[0])
	}
	u := t.known[t.fold.Key(words[1])]
	if u == nil {
		u = &user{name: words[1]}
		t.known[t.fold.Key(words[1])] = u
	}
	for _, word := range words[2:] {
		p, err := mailaddr.ParsePattern(word)
		if err != nil {
			return err // which names it
		}
		u.may = append(u.may, p)
	}
	t.users[k] = words[1]
	u.keys = append(u.keys, k)
	return nil
}

// identity is a user of the table. A certificate more or less of the user's changes the
// fingerprint, since it is not known which of them an open session has shown.
func (t *table) identity(name string) caddymsa.Identity {
	u := t.known[t.fold.Key(name)]
	sum := sha256.Sum256([]byte(strings.Join(slices.Sorted(slices.Values(u.keys)), "\n")))
	return caddymsa.Identity{User: u.name, Addresses: u.may, Fingerprint: hex.EncodeToString(sum[:]), Case: t.fold}
}
