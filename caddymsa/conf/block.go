package conf

import (
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// Setting is one line, or block, of a directive's block.
type Setting struct {
	name  string
	many  bool // may be given more than once
	parse func(d *caddyfile.Dispenser) error
}

// Func is a setting that parse reads. The dispenser is at its name.
func Func(name string, parse func(d *caddyfile.Dispenser) error) Setting {
	return Setting{name: name, parse: parse}
}

// Each is a setting that may be given several times, as each adds something.
func Each(name string, parse func(d *caddyfile.Dispenser) error) Setting {
	return Setting{name: name, many: true, parse: parse}
}

// Sub is a setting that has a block of settings.
func Sub(name string, settings ...Setting) Setting {
	return Func(name, func(d *caddyfile.Dispenser) error { return Block(d, settings...) })
}

// Block reads the rest of a directive: no more values, and the settings of its block, if it has one.
// The dispenser is at the directive's name or its last value.
func Block(d *caddyfile.Dispenser, settings ...Setting) error {
	return Lines(d, func(*caddyfile.Dispenser) (bool, error) { return false, nil }, settings...)
}

// Lines is Block for a directive that takes other lines too, such as modules. other reads a line
// that is none of the settings and tells whether it knows it.
func Lines(d *caddyfile.Dispenser, other func(d *caddyfile.Dispenser) (known bool, err error), settings ...Setting) error {
	if d.NextArg() {
		return d.Errf("unexpected %q; settings stand in a block, each on a line of its own: { ... }", d.Val())
	}
	seen := make(map[string]bool)
	last := ""
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		if name == "{" {
			return d.Errf("%s takes no block", last)
		}
		last = name
		s := find(settings, name)
		if s == nil {
			known, err := other(d)
			if !known && err == nil {
				err = unknown(d, name, settings)
			}
			if err != nil {
				return err
			}
			continue
		}
		if seen[name] && !s.many {
			return d.Errf("%s is specified twice", name)
		}
		seen[name] = true
		if err := s.parse(d); err != nil {
			return err
		}
	}
	return nil
}

func find(settings []Setting, name string) *Setting {
	for i := range settings {
		if settings[i].name == name {
			return &settings[i]
		}
	}
	return nil
}

func unknown(d *caddyfile.Dispenser, name string, settings []Setting) error {
	if len(settings) == 0 {
		return d.Errf("unexpected %q: there are no settings; leave the block out", name)
	}
	names := Names(settings)
	return d.Errf("unknown setting %q%s; known settings: %s", name, DidYouMean(name, names), And(names))
}

// And lists words as a sentence does.
func And(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " and " + words[last]
}

// Parse reads a setting that is not in a list of them. The dispenser is at its name.
func Parse(d *caddyfile.Dispenser, s Setting) error { return s.parse(d) }

// Names are the names of settings.
func Names(settings []Setting) []string {
	names := make([]string, 0, len(settings))
	for _, s := range settings {
		names = append(names, s.name)
	}
	return names
}
