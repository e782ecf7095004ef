package policycontent

import (
	"slices"
	"strings"
	"unicode/utf8"
)

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
