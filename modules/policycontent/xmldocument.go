package policycontent

import (
	"errors"
	"fmt"
	"io"
	"slices"
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

// exclamation reads a comment [15] or a CDATA section [18].
func (x *xmlDocument) exclamation() {
	switch x.c {
	case '-':
		x.expect("--", "a comment")
		x.until("--", "a comment")
		if x.c != '>' {
			x.fail("there is -- within a comment")
		}
		x.next()
	case '[':
		x.expect("[CDATA[", "a CDATA section")
		if len(x.open) == 0 {
			x.fail("there is a CDATA section outside of the root element")
		}
		x.until("]]>", "a CDATA section")
	case 'D':
		x.fail("a document type declaration is not allowed")
	default:
		x.fail("expected a comment or a CDATA section")
	}
}

// until skips up to the end and behind it. All but the end's last character are the same.
func (x *xmlDocument) until(end, of string) {
	last, same := rune(end[len(end)-1]), rune(end[0])
	want := strings.Count(end[:len(end)-1], end[:1])
	for run := 0; ; x.next() {
		switch {
		case x.c == atEnd:
			x.fail("%s is not closed", of)
			return
		case x.c == last && run >= want:
			x.next()
			return
		case x.c == same:
			run++
		default:
			run = 0
		}
	}
}

// text reads character data [14] and references [67].
func (x *xmlDocument) text() {
	for brackets := 0; x.c != '<' && x.c != atEnd; {
		switch {
		case x.c == '&':
			x.reference()
			brackets = 0
			continue
		case x.c == '>' && brackets >= 2:
			x.fail("there is ]]> in text")
		case x.c == ']':
			brackets++
		default:
			brackets = 0
		}
		x.next()
	}
}

// reference reads a reference to a character [66] or to one of the five entities that need no
// declaration (section 4.6).
func (x *xmlDocument) reference() {
	x.next()
	if x.c == '#' {
		x.next()
		x.characterReference()
		return
	}
	if name := string(x.readName("an entity")); x.err == nil && !slices.Contains(predefined, name) {
		x.fail("entity &%s; is not declared", name)
	}
	x.expect(";", "a reference")
}

var predefined = []string{"lt", "gt", "amp", "apos", "quot"}

func (x *xmlDocument) characterReference() {
	base, digits := rune(10), 0
	if x.c == 'x' {
		base = 16
		x.next()
	}
	value := rune(0)
	for ; ; digits++ {
		d := digit(x.c)
		if d < 0 || d >= base {
			break
		}
		value = min(value*base+d, utf8.MaxRune+1)
		x.next()
	}
	if digits == 0 || !isXMLChar(value) {
		x.fail("a reference to a character that there is not")
	}
	x.expect(";", "a reference")
}

// startTag reads a start tag [40] or an empty element's [44].
func (x *xmlDocument) startTag() {
	name := string(x.readName("an element"))
	switch {
	case x.err != nil:
		return
	case len(x.open) == 0 && x.root:
		x.fail("there is a second root element")
	case len(x.open) == maxXMLDepth:
		x.fail("elements are nested more than %d deep, which is not supported", maxXMLDepth)
	}
	x.root = true
	x.open = append(x.open, name)
	x.attributes()
	if x.c == '/' {
		x.next()
		x.open = x.open[:len(x.open)-1]
	}
	x.expect(">", "a tag")
}

// attributes reads attributes [41], none of which is there twice.
func (x *xmlDocument) attributes() {
	var seen names
	for x.space() && x.c != '/' && x.c != '>' && x.c != atEnd {
		name := string(x.readName("an attribute"))
		if seen.has(name) {
			x.fail("attribute %s is specified twice", name)
		}
		if seen.add(name); seen.octets > maxXMLNames {
			x.fail("a tag's attributes have names of more than %d octets, which is not supported", maxXMLNames)
		}
		x.equals()
		x.quoted(func() {
			switch x.c {
			case '<':
				x.fail("there is < in the value of an attribute")
			case '&':
				x.reference()
			default:
				x.next()
			}
		})
	}
}

// names are those of a tag's attributes: a few in a list, and many in a set.
type names struct {
	list   []string
	set    map[string]struct{}
	octets int
}

func (n *names) has(name string) bool {
	if n.set == nil {
		return slices.Contains(n.list, name)
	}
	_, ok := n.set[name]
	return ok
}

func (n *names) add(name string) {
	const few = 8
	n.octets += len(name)
	if n.set == nil {
		if n.list = append(n.list, name); len(n.list) <= few {
			return
		}
		n.set = make(map[string]struct{})
		for _, name := range n.list {
			n.set[name] = struct{}{}
		}
	}
	n.set[name] = struct{}{}
}

// equals reads an equals sign [25].
func (x *xmlDocument) equals() {
	x.space()
	x.expect("=", "an attribute")
	x.space()
}

// quoted reads what stands in quotes, by calling each for it.
func (x *xmlDocument) quoted(each func()) {
	quote := x.c
	if quote != '"' && quote != '\'' {
		x.fail("expected a value in quotes")
		return
	}
	x.next()
	for x.c != quote {
		if x.c == atEnd {
			x.fail("a value in quotes does not end")
			return
		}
		each()
	}
	x.next()
}

// endTag reads an end tag [42].
func (x *xmlDocument) endTag() {
	name := x.readName("an element")
	n := len(x.open) - 1
	switch {
	case x.err != nil:
		return
	case n < 0:
		x.fail("</%s> closes nothing", name)
		return
	case x.open[n] != string(name):
		x.fail("element <%s> closed by </%s>", x.open[n], name)
		return
	}
	x.open = x.open[:n]
	x.space()
	x.expect(">", "a tag")
}
