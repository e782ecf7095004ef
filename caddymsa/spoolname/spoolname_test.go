package spoolname

import (
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// A spool is named in one word, or with its settings as in a Caddyfile. A directory may have spaces in its name.
func TestTokens(t *testing.T) {
	for name, want := range map[string]string{
		"file:/var/spool/msa":           "file|/var/spool/msa",
		"file:///var/spool/msa":         "file|///var/spool/msa",
		"file:/var/spool/our mail":      "file|/var/spool/our mail",
		"postgres://db/msa":             "postgres|postgres://db/msa",
		"postgres:host=db user=msa":     "postgres|host=db user=msa",
		"postgres:{env.DSN}":            "postgres|{env.DSN}",
		"postgres {env.DSN}":            "postgres|{env.DSN}",
		`spool file "/var/our mail"`:    "file|/var/our mail",
		"postgres db {\n\tschema x\n}":  "postgres|db|{|schema|x|}",
		"spool postgres db {\n\tx y\n}": "postgres|db|{|x|y|}",
		"":                              "",
		"file":                          "",
		"file:":                         "",
		"spool":                         "",
	} {
		tokens, err := tokensOf(name)
		var texts []string
		for _, token := range tokens {
			texts = append(texts, token.Text)
		}
		if got := strings.Join(texts, "|"); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v; wanted %q", name, got, err, want)
		}
	}
	tokens, err := tokensOf("postgres db {\n\tschema x\n}")
	if err != nil {
		t.Fatal(err)
	}
	d := caddyfile.NewDispenser(tokens)
	d.Next()
	if d.NextArg(); d.Val() != "db" || !d.NextBlock(0) || d.Val() != "schema" {
		t.Errorf("the block is not one: %q", d.Val())
	}
}
