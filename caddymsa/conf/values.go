package conf

import (
	"encoding"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// value reads the one value of a setting.
func value(name string, set func(text string) error) Setting {
	return Func(name, func(d *caddyfile.Dispenser) error {
		args := d.RemainingArgs()
		if len(args) != 1 {
			return d.Errf("%s takes one value%s", name, remedy(args))
		}
		if err := set(args[0]); err != nil {
			return d.Errf("%s: %w", name, err)
		}
		return nil
	})
}

// remedy says what is meant by several arguments where one is expected.
func remedy(args []string) string {
	if len(args) == 0 {
		return ""
	}
	if _, err := strconv.ParseFloat(args[0], 64); err == nil && len(args) == 2 && strings.IndexFunc(args[1], unicode.IsLetter) == 0 {
		return fmt.Sprintf(": write %s%s, without the space", args[0], unit(args[1]))
	}
	return "; put quotes around one that has spaces"
}

// unit is how a duration writes a unit, if it is one.
func unit(word string) string {
	for _, u := range []string{"day", "hour", "minute", "second"} {
		if s := strings.TrimSuffix(strings.ToLower(word), "s"); len(s) > 1 && strings.HasPrefix(u, s) {
			return u[:1]
		}
	}
	return word
}

// NoEmpty refuses values that are empty: a setting that is left out is meant to be, an empty one hardly. A key
// would become none, and a list limit nothing.
func NoEmpty(values ...string) error {
	if slices.Contains(values, "") {
		return errors.New("a value is empty; leave it out if nothing is meant, or set the variable that it comes from")
	}
	return nil
}

// Text is a setting of one value.
func Text(name string, into *string) Setting {
	return value(name, func(text string) error { *into = text; return NoEmpty(text) })
}

// Value is a setting of one value that reads itself, such as a Duration or a Secret.
func Value(name string, into encoding.TextUnmarshaler) Setting {
	return value(name, func(text string) error {
		if err := NoEmpty(text); err != nil {
			return err
		}
		return into.UnmarshalText([]byte(text))
	})
}

// Texts is a setting of two or more values, all of which are required.
func Texts(name, values string, into ...*string) Setting {
	return Func(name, func(d *caddyfile.Dispenser) error {
		if !d.AllArgs(into...) {
			return d.Errf("%s takes %s", name, values)
		}
		return nil
	})
}

// Pair reads a name and a value into a map, which has each name once; with Each.
func Pair(into *map[string]string) func(d *caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		setting := d.Val()
		var name, value string
		if !d.AllArgs(&name, &value) {
			return d.Errf("%s takes a name and a value; put quotes around one that has spaces", setting)
		}
		if _, taken := (*into)[name]; taken {
			return d.Errf("%s %s is specified twice", setting, name)
		}
		if *into == nil {
			*into = make(map[string]string)
		}
		(*into)[name] = value
		return nil
	}
}

// List is a setting of one or more values, all on one line.
func List[T ~string](name string, into *[]T) Setting {
	return Func(name, func(d *caddyfile.Dispenser) error {
		args := d.RemainingArgs()
		if len(args) == 0 {
			return d.Errf("%s takes one or more values", name)
		}
		if err := NoEmpty(args...); err != nil {
			return d.Errf("%s: %w", name, err)
		}
		*into = nil
		for _, arg := range args {
			*into = append(*into, T(arg))
		}
		return nil
	})
}

// Lists is a List that may be given several times: the lines add up.
func Lists(name string, into *[]string) Setting {
	return Each(name, func(d *caddyfile.Dispenser) error {
		args := d.RemainingArgs()
		if len(args) == 0 {
			return d.Errf("%s takes one or more values", name)
		}
		if err := NoEmpty(args...); err != nil {
			return d.Errf("%s: %w", name, err)
		}
		*into = append(*into, args...)
		return nil
	})
}

// Flag is a setting without a value: it is there, or it is not.
func Flag(name string, into *bool) Setting {
	return Func(name, func(d *caddyfile.Dispenser) error {
		*into = true
		if d.NextArg() {
			return d.Errf("%s takes no value", name)
		}
		return nil
	})
}

// OnOff is a setting that is on or off.
func OnOff(name string, into *bool) Setting {
	var word string
	s := Word(name, &word, "on", "off")
	return Func(name, func(d *caddyfile.Dispenser) error {
		err := s.parse(d)
		*into = word == "on"
		return err
	})
}

// Word is a setting that is one of some words.
func Word(name string, into *string, words ...string) Setting {
	return value(name, func(text string) error { *into = text; return OneOf(text, words...) })
}

// OneOf tells which words there are if text is none of them.
func OneOf(text string, words ...string) error {
	if slices.Contains(words, text) {
		return nil
	}
	last := len(words) - 1
	return fmt.Errorf("%q is not one of %s or %s%s", text, strings.Join(words[:last], ", "), words[last], DidYouMean(text, words))
}
