package policydkim

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
)

// canonicalization is the form in which header and body are signed (RFC 6376 section 3.4): simple, or
// relaxed, which white space does not change.
type canonicalization struct{ relaxedHeader, relaxedBody bool }

const (
	simple  = "simple"
	relaxed = "relaxed"
)

func parseCanonicalization(text string) (canonicalization, error) {
	is := func(word string) (bool, error) {
		switch word {
		case "", relaxed:
			return true, nil
		case simple:
			return false, nil
		}
		return false, fmt.Errorf("canonicalization: %q is neither simple nor relaxed", word)
	}
	header, body, _ := strings.Cut(text, "/")
	var c canonicalization
	var err error
	if c.relaxedHeader, err = is(header); err != nil {
		return c, err
	}
	c.relaxedBody, err = is(body)
	return c, err
}

// String is the value of c=.
func (c canonicalization) String() string {
	word := func(isRelaxed bool) string {
		if isRelaxed {
			return relaxed
		}
		return simple
	}
	return word(c.relaxedHeader) + "/" + word(c.relaxedBody)
}

// field writes a header field.
func (c canonicalization) field(w io.Writer, raw []byte) {
	if !c.relaxedHeader {
		raw = bytes.TrimSuffix(bytes.TrimSuffix(raw, []byte("\n")), []byte("\r"))
		_, _ = fmt.Fprintf(w, "%s\r\n", raw)
		return
	}
	name, value, _ := bytes.Cut(raw, []byte(":"))
	name = bytes.ToLower(bytes.TrimRight(name, " \t"))
	_, _ = fmt.Fprintf(w, "%s:%s\r\n", name, bytes.Join(bytes.FieldsFunc(value, isSpace), []byte(" ")))
}

func isSpace(r rune) bool { return r == ' ' || r == '\t' || r == '\r' || r == '\n' }

// bodyWriter gives w the body in its canonical form, and keeps none of it. Writes to a hash do not fail.
func (c canonicalization) bodyWriter(w io.Writer) *bodyWriter {
	return &bodyWriter{w: bufio.NewWriter(w), relaxed: c.relaxedBody}
}

type bodyWriter struct {
	w       *bufio.Writer
	relaxed bool
	any     bool // something was written
	lines   int  // line ends that are written once something follows
	space   bool // white space too
	cr      bool
}

func (b *bodyWriter) Write(p []byte) (int, error) {
	size := len(p)
	for len(p) > 0 {
		c := p[0]
		if b.cr && c != '\n' {
			b.put(cr)
		}
		b.cr = c == '\r'
		n := 1
		switch {
		case c == '\n':
			b.lines, b.space = b.lines+1, false
		case c == '\r':
		case b.relaxed && (c == ' ' || c == '\t'):
			b.space = true
		default:
			for n < len(p) && (p[n] > ' ' || p[n] == ' ' && !b.relaxed) {
				n++
			}
			b.put(p[:n])
		}
		p = p[n:]
	}
	return size, nil
}

var cr = []byte("\r")

// put writes a text without line ends, and what was held back before it.
func (b *bodyWriter) put(text []byte) {
	for ; b.lines > 0; b.lines-- {
		_, _ = b.w.WriteString("\r\n")
	}
	if b.space {
		_ = b.w.WriteByte(' ')
		b.space = false
	}
	_, _ = b.w.Write(text)
	b.any = true
}

// close writes the one line end that a body has: a simple one even if it is empty.
func (b *bodyWriter) close() {
	if b.cr {
		b.put(cr)
	}
	if b.any || !b.relaxed {
		_, _ = b.w.WriteString("\r\n")
	}
	_ = b.w.Flush()
}
