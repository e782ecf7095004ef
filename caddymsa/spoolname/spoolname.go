// Package spoolname names spools in one word, for commands and the admin API: file:/var/spool/msa,
// postgres://msa@db.example.org/msa.
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

// Load makes the module that a name speaks of, which can then be opened: the last part of a module's name in
// msa.spools, a colon, and what is the first argument of the directive spool in a Caddyfile. Other settings have their defaults.
// What is written as an address (postgres://...) is its own argument.
func Load(ctx caddy.Context, name string) (caddymsa.SpoolModule, error) {
	kind, argument, ok := strings.Cut(name, ":")
	if !ok || kind == "" || argument == "" {
		return nil, fmt.Errorf("%q does not name a spool; for example file:/var/spool/caddy-msa or postgres://msa@db.example.org/msa", name)
	}
	if strings.HasPrefix(argument, "//") && kind != "file" {
		argument = name
	}
	known, err := caddy.GetModule(namespace + "." + kind)
	if err != nil {
		return nil, fmt.Errorf("there is no kind of spool %q in this program; it has %s", kind, strings.Join(kinds(), ", "))
	}
	module, ok := known.New().(caddyfile.Unmarshaler)
	if !ok {
		return nil, fmt.Errorf("a spool of the kind %s cannot be named in one word", kind)
	}
	tokens := []caddyfile.Token{{File: "name of the spool", Line: 1, Text: kind}, {File: "name of the spool", Line: 1, Text: argument}}
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
