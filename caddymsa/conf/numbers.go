package conf

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"
)

// MaxCount bounds counts, so that what is made of them does not overflow: more is a slip of the pen.
const MaxCount = 1_000_000_000

// Count is a setting that is a whole number above 0.
func Count[T ~int | ~int64](name string, into *T) Setting {
	return value(name, func(text string) (err error) {
		*into, err = parseCount[T](text)
		return err
	})
}

func parseCount[T ~int | ~int64](text string) (T, error) {
	n, err := strconv.ParseInt(text, 10, strconv.IntSize)
	if err != nil && !errors.Is(err, strconv.ErrRange) || n <= 0 {
		return 0, fmt.Errorf("%q is not a whole number above 0", text)
	}
	if n > MaxCount {
		return 0, fmt.Errorf("%s is too large; %d is the most", text, MaxCount)
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
