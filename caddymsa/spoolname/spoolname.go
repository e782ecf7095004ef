// Package spoolname names spools for commands and the admin API: in one word, file:/var/spool/msa or
// postgres://msa@db.example.org/msa, or as a Caddyfile does, where settings are needed.
package spoolname

import (
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa"
)

const namespace = "msa.spools"

// Load makes the module that a name speaks of, which can then be opened. In one word that is the last part of a module's name in
// msa.spools, a colon, and what is the first argument of the directive spool in a Caddyfile; other settings have their defaults.
// What is written as an address (postgres://...) is its own argument. Or it is that directive, with its settings.
func Load(ctx caddy.Context, name string) (caddymsa.SpoolModule, error) {
	tokens, err := tokensOf(name)
	if err != nil {
		return nil, err
	}
	kind := tokens[0].Text
	known, err := caddy.GetModule(namespace + "." + kind)
	if err != nil {
		return nil, fmt.Errorf("there is no kind of spool %q in this program; it has %s", kind, strings.Join(kinds(), ", "))
	}
	module, ok := known.New().(caddyfile.Unmarshaler)
	if !ok {
		return nil, fmt.Errorf("a spool of the kind %s cannot be named", kind)
	}
	if err := module.UnmarshalCaddyfile(caddyfile.NewDispenser(tokens)); err != nil {
		return nil, err
	}
	loaded, err := ctx.LoadModuleByID(namespace+"."+kind, caddyconfig.JSON(module, nil))
	if err != nil {
		return nil, err
	}
	spool, ok := loaded.(caddymsa.SpoolModule)
	if !ok {
		return nil, fmt.Errorf("the module %s.%s is not a spool", namespace, kind)
	}
	return spool, nil
}

// tokensOf is the name as a Caddyfile has it, from the kind on.
func tokensOf(name string) ([]caddyfile.Token, error) {
	const where = "name of the spool"
	if words := strings.Fields(name); len(words) > 1 && !strings.Contains(words[0], ":") {
		tokens, err := caddyfile.Tokenize([]byte(name), where)
		if err == nil && len(tokens) > 1 && tokens[0].Text == "spool" {
			tokens = tokens[1:]
		}
		if err != nil || len(tokens) > 0 {
			return tokens, err
		}
	}
	kind, argument, ok := strings.Cut(name, ":")
	if !ok || kind == "" || argument == "" {
		return nil, fmt.Errorf("%q does not name a spool; for example file:/var/spool/caddy-msa or 'postgres://msa@db.example.org/msa?sslmode=verify-full'", name)
	}
	if strings.HasPrefix(argument, "//") && kind != "file" {
		argument = name
	}
	return []caddyfile.Token{{File: where, Line: 1, Text: kind}, {File: where, Line: 1, Text: argument}}, nil
}

func kinds() (names []string) {
	for _, m := range caddy.GetModules(namespace) {
		names = append(names, m.ID.Name())
	}
	slices.Sort(names)
	return names
}

// Find refuses a spool that is not there yet, as far as its module can tell.
func Find(spool caddymsa.SpoolModule) error {
	finder, ok := spool.(caddymsa.SpoolFinder)
	if !ok {
		return nil
	}
	there, err := finder.Exists()
	if err == nil && !there {
		err = fmt.Errorf("there is no spool %s", spool.Key())
	}
	return err
}
