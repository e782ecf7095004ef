package queue

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Indexes are places among an entry's recipients, in ascending order. As text they are ranges such
// as "0-999,1003", so that a thousand of them cost no more than one.
type Indexes []int

// MarshalText implements encoding.TextMarshaler.
func (x Indexes) MarshalText() ([]byte, error) {
	var b []byte
	for i := 0; i < len(x); {
		last := i
		for last+1 < len(x) && x[last+1] == x[last]+1 {
			last++
		}
		if len(b) > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(x[i]), 10)
		if last > i {
			b = append(b, '-')
			b = strconv.AppendInt(b, int64(x[last]), 10)
		}
		i = last + 1
	}
	return b, nil
}

// maxIndex bounds what damaged ranges can make of a few octets.
const maxIndex = 1 << 20

var errIndexes = errors.New("damaged list of recipients")

// UnmarshalText implements encoding.TextUnmarshaler.
func (x *Indexes) UnmarshalText(text []byte) error {
	*x = nil
	if len(text) == 0 {
		return nil
	}
	for part := range strings.SplitSeq(string(text), ",") {
		from, to, ranged := strings.Cut(part, "-")
		first, err := strconv.Atoi(from)
		last := first
		if err == nil && ranged {
			last, err = strconv.Atoi(to)
		}
		if err != nil || first < 0 || last < first || last >= maxIndex || len(*x) > 0 && first <= (*x)[len(*x)-1] {
			return fmt.Errorf("%w: %.100q", errIndexes, text)
		}
		*x = slices.Grow(*x, last-first+1)
		for i := first; i <= last; i++ {
			*x = append(*x, i)
		}
	}
	return nil
}
