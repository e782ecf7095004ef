package authclientcert

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
)

// table is a map as it was read.
type table struct {
	users map[string]string   // by key
	lines map[string][]string // of a user: what its fingerprint is made of
	may   map[string][]mailaddr.Pattern
}

func readTable(path string) (*table, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() { // reading a pipe would wait for a writer
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	t, err := parseTable(b)
	if err != nil {
		return nil, fmt.Errorf("%s, %w", path, err)
	}
	return t, nil
}

// parseTable has quotes and comments as a Caddyfile has them.
func parseTable(text []byte) (*table, error) {
	tokens, err := caddyfile.Tokenize(text, "")
	if err != nil && !errors.Is(err, io.EOF) { // which is what an empty file makes
		return nil, err
	}
	t := &table{users: make(map[string]string), lines: make(map[string][]string), may: make(map[string][]mailaddr.Pattern)}
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
		return fmt.Errorf("%q is no name of a certificate; write one as in %s:name, of %q", words[0], "cn", kinds)
	}
	if len(words) < 2 || words[1] == "" {
		return errors.New("a user is missing after the name of the certificate")
	}
	k, user := key(kind, fold(kind, name)), words[1]
	if t.users[k] != "" {
		return fmt.Errorf("%s stands twice", words[0])
	}
	for _, word := range words[2:] {
		p, err := mailaddr.ParsePattern(word)
		if err != nil {
			return fmt.Errorf("%q: %w", word, err)
		}
		t.may[user] = append(t.may[user], p)
	}
	t.users[k] = user
	t.lines[user] = append(t.lines[user], k)
	return nil
}

// identity is a user of the table. A certificate more or less of the user's changes the
// fingerprint, since it is not known which of them an open session has shown.
func (t *table) identity(user string) caddymsa.Identity {
	sum := sha256.Sum256([]byte(strings.Join(slices.Sorted(slices.Values(t.lines[user])), "\n")))
	return caddymsa.Identity{User: user, Addresses: t.may[user], Fingerprint: hex.EncodeToString(sum[:])}
}
