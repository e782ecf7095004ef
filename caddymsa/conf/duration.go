package conf

import (
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// Duration is a time span as in 5s, 10m, 1h30m or 5d. In JSON it is such a text or a
// number of nanoseconds.
type Duration time.Duration

// ParseDuration reads a time span. Its error repeats what was written.
func ParseDuration(text string) (time.Duration, error) {
	d, err := caddy.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration (for example 5s, 10m, 1h30m or 5d)", text)
	}
	return d, nil
}

// UnmarshalText reads the value of a setting, which is above 0.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := ParseDuration(string(text))
	if err == nil && v <= 0 {
		err = fmt.Errorf("%q is not a duration above 0", text)
	}
	*d = Duration(v)
	return err
}

// UnmarshalJSON reads a text or a number of nanoseconds. Zero and less are for the owner of the
// setting to judge, as they may mean something. A number below a millisecond was meant in seconds or so.
func (d *Duration) UnmarshalJSON(b []byte) error {
	if len(b) == 0 || b[0] != '"' {
		err := json.Unmarshal(b, (*time.Duration)(d))
		if err == nil && *d > 0 && *d < Duration(time.Millisecond) {
			return &json.UnmarshalTypeError{Value: fmt.Sprintf(`%s, which counts nanoseconds; write a text with a unit, such as "%[1]ss",`, b), Type: reflect.TypeFor[Duration]()}
		}
		return err
	}
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return err
	}
	v, err := caddy.ParseDuration(text)
	if err != nil { // encoding/json adds to this type where it is
		return &json.UnmarshalTypeError{Value: fmt.Sprintf("%q, which is not a duration (for example 5s, 10m, 1h30m or 5d),", text), Type: reflect.TypeFor[Duration]()}
	}
	*d = Duration(v)
	return nil
}

// String is the duration as Go writes it.
func (d Duration) String() string { return time.Duration(d).String() }

// DurationOr is a setting that is a duration or one word, such as off, which stands for a
// value of its own.
func DurationOr(name string, into *Duration, word string, means Duration) Setting {
	return value(name, func(text string) error {
		if text == word {
			*into = means
			return nil
		}
		if err := into.UnmarshalText([]byte(text)); err != nil {
			return fmt.Errorf("%w, nor %s", err, word)
		}
		return nil
	})
}

// Durations is a setting of one or more durations.
func Durations(name string, into *[]Duration) Setting {
	return Func(name, func(d *caddyfile.Dispenser) error {
		args := d.RemainingArgs()
		if len(args) == 0 {
			return d.Errf("%s takes one or more durations", name)
		}
		*into = make([]Duration, len(args))
		for i, arg := range args {
			if err := (*into)[i].UnmarshalText([]byte(arg)); err != nil {
				return d.Errf("%s: %w", name, err)
			}
		}
		return nil
	})
}
