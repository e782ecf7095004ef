package conf

import (
	"encoding"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"
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

// Text is a setting of one value.
func Text(name string, into *string) Setting {
	return value(name, func(text string) error { *into = text; return nil })
}

// Value is a setting of one value that reads itself, such as a Duration or a Secret.
func Value(name string, into encoding.TextUnmarshaler) Setting {
	return value(name, func(text string) error { return into.UnmarshalText([]byte(text)) })
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

// Count is a setting that is a whole number above 0.
func Count[T ~int | ~int64](name string, into *T) Setting {
	return value(name, func(text string) (err error) {
		*into, err = parseCount[T](text)
		return err
	})
}

func parseCount[T ~int | ~int64](text string) (T, error) {
	n, err := strconv.ParseInt(text, 10, strconv.IntSize)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("%q is not a whole number above 0", text)
	}
	return T(n), nil
}

// CountOrNone is a setting that is a whole number above 0, or a negative one for none, as 0 is what is not set.
func CountOrNone(name string, into *int) Setting {
	return value(name, func(text string) error {
		n, err := strconv.Atoi(text)
		if err != nil || n == 0 {
			return fmt.Errorf("%q is not a whole number above 0, nor a negative one for none", text)
		}
		*into = n
		return nil
	})
}

// CountPer is a setting that is a whole number above 0 and a time, as in 100 1m. what is counted is for the error.
func CountPer(name, what string, count *int, per *Duration) Setting {
	return Func(name, func(d *caddyfile.Dispenser) error {
		var number, time string
		if !d.AllArgs(&number, &time) {
			return d.Errf("%s takes a number of %s and a time, as in: %s 100 1m", name, what, name)
		}
		var err error
		if *count, err = parseCount[int](number); err == nil {
			err = per.UnmarshalText([]byte(time))
		}
		if err != nil {
			return d.Errf("%s: %w", name, err)
		}
		return nil
	})
}

// ParseRange reads how many there may be: 1, 0-1, 2-5 or 1-, of which the last has no end and a high of -1.
func ParseRange(text string) (low, high int, err error) {
	from, to, ranged := strings.Cut(text, "-")
	low, err = strconv.Atoi(from)
	ok := err == nil && low >= 0
	switch {
	case !ranged:
		high = low
	case to == "":
		high = -1
	default:
		high, err = strconv.Atoi(to)
		ok = ok && err == nil && high >= low
	}
	if !ok || strings.ContainsAny(text, "+") {
		return 0, 0, fmt.Errorf("%q is not a count or a range of counts; write 1, 0-1, 2-5 or 1-", text)
	}
	return low, high, nil
}

// Number is a setting that is a whole number from 0 on.
func Number(name string, into *int) Setting {
	return value(name, func(text string) error {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return fmt.Errorf("%q is not a whole number", text)
		}
		*into = n
		return nil
	})
}

// maxSize bounds sizes, in octets: a petabyte is a slip of the pen.
const maxSize = 1 << 50

// Size is a setting in octets, which may have a unit: 4096, 64KiB, 50MB.
func Size[T ~int | ~int64](name string, into *T) Setting {
	return value(name, func(text string) (err error) {
		*into, err = parseSize[T](text)
		return err
	})
}

// parseSize reads one.
func parseSize[T ~int | ~int64](text string) (T, error) {
	n, err := humanize.ParseBytes(text)
	if err != nil || n == 0 || n > maxSize || strings.ContainsAny(text, "+-,") {
		return 0, fmt.Errorf("%q is not a size (for example 4096, 64KiB or 50MB)", text)
	}
	return T(n), nil
}
