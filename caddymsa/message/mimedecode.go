package message

import (
	"encoding/base64"
)

// decoder undoes a transfer encoding (RFC 2045 section 6), a piece of the body at a time. The
// library's decoders give up at the first defect; ours go on as RFC 2045 says that readers
// do, so that a check sees what a reader would, and note it.
type decoder interface {
	// decode appends to dst what raw adds to the body.
	decode(dst, raw []byte, p *Part) []byte
	// end appends what was held back.
	end(dst []byte, p *Part) []byte
}

func decoderOf(p *Part) decoder {
	switch p.Encoding {
	case "base64":
		return &fromBase64{}
	case "quoted-printable":
		return &fromQuoted{}
	case "7bit":
		return identity{sevenBit: true}
	}
	return identity{}
}

// identity is 7bit, 8bit, binary, and whatever is unknown.
type identity struct{ sevenBit bool }

func (i identity) decode(dst, raw []byte, p *Part) []byte {
	if i.sevenBit && !p.Defects.Has(EightBit) && !isASCII(raw) {
		p.Defects |= EightBit
	}
	return append(dst, raw...)
}

func (identity) end(dst []byte, _ *Part) []byte { return dst }

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

// fromBase64 skips what is not of the alphabet (RFC 2045 section 6.8), and all behind padding.
type fromBase64 struct {
	quantum [4]byte
	n       int // characters in quantum
	pads    int
	ended   bool
}

func (d *fromBase64) decode(dst, raw []byte, p *Part) []byte {
	if n := len(raw); n > 2 && d.n == 0 && !d.ended && n%4 == 0 && raw[n-1] != '=' {
		// A whole line, as nearly all are.
		start := len(dst)
		dst = append(dst, raw[:n/4*3]...)
		if m, err := base64.StdEncoding.Decode(dst[start:], raw); err == nil && m == n/4*3 {
			return dst
		}
		dst = dst[:start]
	}
	for _, c := range raw {
		switch {
		case c == '\r' || c == '\n':
		case d.ended:
			p.Defects |= BadBase64
		case c == '=':
			d.pads++
			if d.n < 2 {
				p.Defects |= BadBase64
				d.pads = 0
			} else if d.n+d.pads == 4 {
				dst = d.flush(dst, p)
				d.ended = true
			}
		case base64Value[c] < 0 || d.pads > 0:
			p.Defects |= BadBase64
		default:
			d.quantum[d.n] = c
			if d.n++; d.n == 4 {
				dst = d.flush(dst, p)
			}
		}
	}
	return dst
}

// flush decodes the characters in the quantum.
func (d *fromBase64) flush(dst []byte, p *Part) []byte {
	var out [3]byte
	n, err := base64.RawStdEncoding.Strict().Decode(out[:], d.quantum[:d.n])
	if err != nil { // bits behind the last octet
		p.Defects |= BadBase64
		n, _ = base64.RawStdEncoding.Decode(out[:], d.quantum[:d.n])
	}
	d.n, d.pads = 0, 0
	return append(dst, out[:n]...)
}

func (d *fromBase64) end(dst []byte, p *Part) []byte {
	if d.n > 0 {
		p.Defects |= BadBase64
		dst = d.flush(dst, p)
	}
	return dst
}

// base64Value is the value of each character of the alphabet, -1 for others.
var base64Value = func() (v [256]int8) {
	for i := range v {
		v[i] = -1
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for i := range len(alphabet) {
		v[alphabet[i]] = int8(i)
	}
	return v
}()

// fromQuoted undoes quoted-printable (RFC 2045 section 6.7).
type fromQuoted struct {
	space []byte // that a line end may follow, which takes it away
	state quotedState
	first byte // hexadecimal digit
}

type quotedState int

const (
	quotedText quotedState = iota
	quotedEquals
	quotedSoft // an equals sign and white space
	quotedHex  // an equals sign and a digit
)

// maxSpace is how much white space at a line's end is taken away.
const maxSpace = 1000

func (d *fromQuoted) decode(dst, raw []byte, p *Part) []byte {
	for _, c := range raw {
		dst = d.next(dst, c, p)
	}
	return dst
}

func (d *fromQuoted) next(dst []byte, c byte, p *Part) []byte {
	switch d.state {
	case quotedEquals, quotedSoft:
		switch {
		case c == '\n':
			d.state = quotedText
			return dst
		case c == '\r' || c == ' ' || c == '\t':
			d.state = quotedSoft
			return dst
		case d.state == quotedEquals && unhex(c) >= 0:
			d.state, d.first = quotedHex, c
			return dst
		}
		p.Defects |= BadQuotedPrintable
		d.state = quotedText
		dst = append(dst, '=')
	case quotedHex:
		d.state = quotedText
		if unhex(c) >= 0 {
			return append(dst, byte(unhex(d.first)<<4|unhex(c)))
		}
		p.Defects |= BadQuotedPrintable
		dst = append(dst, '=', d.first)
	}
	switch {
	case c == '\n':
		d.space = d.space[:0]
		return append(dst, '\r', '\n')
	case c == ' ' || c == '\t' || c == '\r':
		if d.space = append(d.space, c); len(d.space) > maxSpace {
			dst = d.flush(dst)
		}
		return dst
	}
	dst = d.flush(dst)
	if c == '=' {
		d.state = quotedEquals
		return dst
	}
	if c > '~' {
		p.Defects |= BadQuotedPrintable
	}
	return append(dst, c)
}

func (d *fromQuoted) flush(dst []byte) []byte {
	dst = append(dst, d.space...)
	d.space = d.space[:0]
	return dst
}

func (d *fromQuoted) end(dst []byte, p *Part) []byte {
	if d.state == quotedHex {
		p.Defects |= BadQuotedPrintable
		dst = append(dst, '=', d.first)
	}
	return dst
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}
