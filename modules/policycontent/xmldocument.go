package policycontent

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// What is held of an XML document is bounded by these.
const (
	maxXMLDepth = 256       // of elements in one another
	maxXMLName  = 4 << 10   // octets of a name
	maxXMLNames = 128 << 10 // octets of the attributes' names of one tag
)

// atEnd is the character behind the last one.
const atEnd rune = -1

// xmlDocument reads a document of XML 1.0 (fifth edition), character by character, and holds no more
// of it than the names of what is open. Numbers in brackets are the productions of the recommendation.
type xmlDocument struct {
	r        io.Reader // of UTF-8
	buffer   [4096]byte
	ready    []byte // in the buffer
	at       int    // how far that is read
	end      error  // that r gave
	charset  xmlCharset
	encoding string // that the XML declaration says
	c        rune   // the character that is next
	line     int
	open     []string // elements
	root     bool     // there has been one
	name     []byte
	err      error // the first; c is atEnd from then on
}

func newXMLDocument(r io.Reader, charset xmlCharset) *xmlDocument {
	return &xmlDocument{r: r, charset: charset, line: 1}
}

// read reads the document [1].
func (x *xmlDocument) read() error {
	x.next()
	first := true
	for x.c != atEnd {
		switch {
		case x.c == '<':
			x.next()
			x.markup(first)
		case len(x.open) > 0:
			x.text()
		case isXMLSpace(x.c):
			x.next()
		default:
			x.fail("there is text outside of the root element")
		}
		if first {
			x.checkCharset()
		}
		first = false
	}
	switch {
	case x.err != nil:
	case len(x.open) > 0:
		x.fail("element <%s> is not closed", x.open[len(x.open)-1])
	case !x.root:
		x.fail("there is no element")
	}
	return x.err
}

// checkCharset compares what the XML declaration says, once that has been read, with how the document
// is read.
func (x *xmlDocument) checkCharset() {
	switch said := x.encoding; {
	case x.err != nil:
	case said == "" && !x.charset.marked:
		x.fail("it is in %s and does not say so", x.charset.name)
	case said != "" && !x.charset.agrees(said):
		x.fail("it says that it is in %s, and is in %s", strings.ToLower(said), x.charset.name)
	}
}

// next reads a character [2].
func (x *xmlDocument) next() {
	if x.err != nil {
		return
	}
	if x.c == '\n' {
		x.line++
	}
	if x.at < len(x.ready) && x.ready[x.at] < utf8.RuneSelf {
		x.c = rune(x.ready[x.at])
		x.at++
		if x.c < ' ' && !isXMLSpace(x.c) {
			x.fail("illegal character U+%04X", x.c)
		}
		return
	}
	x.decode()
}

// decode reads a character that is not of ASCII, or not yet there.
func (x *xmlDocument) decode() {
	for !utf8.FullRune(x.ready[x.at:]) && x.end == nil {
		x.at, x.ready = 0, x.buffer[:copy(x.buffer[:], x.ready[x.at:])]
		n, err := x.r.Read(x.buffer[len(x.ready):])
		x.ready, x.end = x.buffer[:len(x.ready)+n], err
	}
	r, size := utf8.DecodeRune(x.ready[x.at:])
	switch {
	case size == 0 && errors.Is(x.end, io.EOF):
		x.c = atEnd
	case size == 0:
		x.err, x.c = x.end, atEnd
	case r == utf8.RuneError && size == 1:
		x.fail("invalid UTF-8")
	case !isXMLChar(r):
		x.fail("illegal character U+%04X", r)
	default:
		x.c = r
		x.at += size
	}
}

// fail keeps what is wrong first.
func (x *xmlDocument) fail(format string, args ...any) {
	if x.err == nil {
		x.err = notWellFormed("line %d: %s", x.line, fmt.Sprintf(format, args...))
	}
	x.c = atEnd
}

// expect reads the text, or fails.
func (x *xmlDocument) expect(text, where string) {
	for _, c := range text {
		if x.c != c {
			x.fail("expected %q in %s", text, where)
			return
		}
		x.next()
	}
}

// space skips white space [3] and tells whether there was some.
func (x *xmlDocument) space() bool {
	found := false
	for isXMLSpace(x.c) {
		found = true
		x.next()
	}
	return found
}

// readName reads a name [5], which is good until the next.
func (x *xmlDocument) readName(of string) []byte {
	x.name = x.name[:0]
	if !isNameStart(x.c) {
		x.fail("expected the name of %s", of)
	}
	for isNameChar(x.c) {
		if len(x.name) > maxXMLName {
			x.fail("the name of %s has more than %d octets, which is not supported", of, maxXMLName)
		}
		x.name = utf8.AppendRune(x.name, x.c)
		x.next()
	}
	return x.name
}

// markup reads what stands behind '<'.
func (x *xmlDocument) markup(first bool) {
	switch x.c {
	case '?':
		x.next()
		x.instruction(first)
	case '!':
		x.next()
		x.exclamation()
	case '/':
		x.next()
		x.endTag()
	default:
		x.startTag()
	}
}
