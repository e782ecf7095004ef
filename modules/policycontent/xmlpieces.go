package policycontent

import (
	"bufio"
	"bytes"
	"strings"
)

// How much of a document encoding/xml gets to hold at once, in octets. Longer text, CDATA and
// comments come to it in several pieces; a longer tag or processing instruction is refused, as is
// text that has no place to be split for maxXMLUnsplit.
const (
	maxXMLText    = 16 << 10
	maxXMLUnsplit = 64 << 10
	maxXMLTag     = 128 << 10
)

// pieces gives a document in UTF-8 as it is, but for what encoding/xml would hold in memory as a
// whole: long text is split by empty comments, long CDATA and comments into two. That changes
// nothing for whether the document is well-formed. A document type declaration is refused, so
// there are no entities to expand.
//
// It and encoding/xml agree in where markup ends up to the first thing that is not well-formed.
type pieces struct {
	r         *bufio.Reader
	state     markup
	run       int    // octets since the state began, or since the last split
	reference bool   // in the text, behind '&'
	opening   string // of what '<' opens, until it is clear what that is
	before    [2]byte
	ready     bytes.Buffer
	err       error // that Read gives when all is read
}

type markup int

const (
	inText markup = iota
	inOpening
	inTag
	inSingleQuotes
	inDoubleQuotes
	inInstruction
	inComment
	inCDATA
)

// splits are what stands between two pieces of the same.
var splits = map[markup]string{inText: "<!---->", inComment: "--><!--", inCDATA: "]]><![CDATA["}

func (x *pieces) Read(p []byte) (int, error) {
	for x.ready.Len() < len(p) && x.err == nil {
		c, err := x.r.ReadByte()
		if err == nil {
			err = x.next(c)
		}
		x.err = err
	}
	if x.ready.Len() == 0 {
		return 0, x.err
	}
	return x.ready.Read(p)
}

// next takes an octet.
func (x *pieces) next(c byte) error {
	x.run++
	switch x.state {
	case inText, inComment, inCDATA:
		if err := x.split(c); err != nil {
			return err
		}
	default:
		if x.run > maxXMLTag {
			return notWellFormed("a tag has more than %d octets, which is not supported", maxXMLTag)
		}
	}
	x.ready.WriteByte(c)
	switch before := x.before; x.state {
	case inText:
		switch c {
		case '<':
			x.to(inOpening)
			return nil
		case '&':
			x.reference = true
		case ';':
			x.reference = false
		}
	case inOpening:
		return x.open(c)
	case inTag:
		x.tag(c)
	case inSingleQuotes:
		if c == '\'' {
			x.state = inTag
		}
	case inDoubleQuotes:
		if c == '"' {
			x.state = inTag
		}
	case inInstruction:
		if c == '>' && before[1] == '?' {
			x.to(inText)
			return nil
		}
	case inComment:
		if c == '>' && before == [2]byte{'-', '-'} {
			x.to(inText)
			return nil
		}
	case inCDATA:
		if c == '>' && before == [2]byte{']', ']'} {
			x.to(inText)
			return nil
		}
	}
	x.before = [2]byte{x.before[1], c}
	return nil
}

// to begins a state.
func (x *pieces) to(state markup) {
	x.state, x.run, x.reference, x.opening, x.before = state, 0, false, "", [2]byte{}
}

// tag takes an octet of a tag that is not in quotes.
func (x *pieces) tag(c byte) {
	switch c {
	case '\'':
		x.state = inSingleQuotes
	case '"':
		x.state = inDoubleQuotes
	case '>':
		x.to(inText)
	}
}

// open takes an octet behind '<'.
func (x *pieces) open(c byte) error {
	x.opening += string(rune(c))
	switch {
	case c == '?' && len(x.opening) == 1:
		x.to(inInstruction)
	case x.opening[0] != '!':
		x.to(inTag)
		x.tag(c)
	case x.opening == "!--":
		x.to(inComment)
	case x.opening == "![CDATA[":
		x.to(inCDATA)
	case !strings.HasPrefix("!--", x.opening) && !strings.HasPrefix("![CDATA[", x.opening):
		return notWellFormed("a document type declaration is not allowed")
	}
	return nil
}

// split ends the piece before c if it is long enough, and neither a character, a reference nor
// what ends the state is torn apart by that.
func (x *pieces) split(c byte) error {
	if x.run <= maxXMLText {
		return nil
	}
	torn := x.reference || c >= 0x80 && c < 0xC0 || c == '<'
	if x.state == inComment {
		torn = torn || c == '-' || c == '>' || x.before[1] == '-'
	} else {
		torn = torn || (c == ']' || c == '>') && x.before[1] == ']'
	}
	switch {
	case !torn:
		x.ready.WriteString(splits[x.state])
		x.run = 1
		x.before = [2]byte{}
	case x.run > maxXMLUnsplit:
		return notWellFormed("it has %d octets in which there is nowhere to stop, which is not supported", maxXMLUnsplit)
	}
	return nil
}
