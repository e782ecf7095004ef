package policycontent

import (
	"bufio"
	"unicode/utf8"
)

// Character sets of seven bits that switch between ASCII and characters of two octets. They are read
// as the ones of eight bits that have the same characters: those have each octet with its highest bit.

// iso2022 makes EUC-JP of ISO-2022-JP (RFC 1468).
type iso2022 struct {
	r      *bufio.Reader
	double bool
}

func (d *iso2022) next(to []byte) ([]byte, error) {
	c, err := d.r.ReadByte()
	switch {
	case err != nil:
		return to, err
	case c >= utf8.RuneSelf:
		return to, errNotInCharset()
	case c > ' ' && c < 0x7F && d.double:
		return append(to, c|0x80), nil
	case c != 0x1B:
		return append(to, c), nil
	}
	which, err := d.r.Peek(2)
	switch string(which) {
	case "(B", "(J":
		d.double = false
	case "$@", "$B":
		d.double = true
	default:
		return to, notRead(err)
	}
	_, err = d.r.Discard(2)
	return to, err
}

// hz makes EUC-CN of HZ (RFC 1843).
type hz struct {
	r      *bufio.Reader
	double bool
	begun  bool // and nothing came yet
}

func (d *hz) next(to []byte) ([]byte, error) {
	c, err := d.r.ReadByte()
	switch {
	case err != nil:
		return to, err
	case c >= utf8.RuneSelf:
		return to, errNotInCharset()
	case c != '~' && !d.double:
		return append(to, c), nil
	}
	second, err := d.r.ReadByte()
	if err != nil {
		return to, notRead(err)
	}
	empty := d.begun
	d.begun = false
	switch {
	case c != '~' && second < utf8.RuneSelf:
		return append(to, c|0x80, second|0x80), nil
	case c != '~':
		return to, errNotInCharset()
	case second == '}' && d.double && !empty:
		d.double = false
	case second == '{' && !d.double:
		d.double, d.begun = true, true
	case second == '~' && !d.double:
		to = append(to, '~')
	case second == '\n' && !d.double: // the line goes on
	default:
		return to, errNotInCharset()
	}
	return to, nil
}
