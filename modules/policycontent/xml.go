package policycontent

import (
	"bufio"
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"golang.org/x/net/html/charset"
	"golang.org/x/text/encoding/unicode"

	"github.com/caddy-msa/caddy-msa/caddymsa/message"
)

// maxXMLDepth bounds how deep elements may be nested.
const maxXMLDepth = 256

// notXML says why a document is not well-formed.
type notXML struct{ why string }

func (e *notXML) Error() string { return e.why }

func notWellFormed(format string, args ...any) error { return &notXML{fmt.Sprintf(format, args...)} }

// checkXML reads a part's body as an XML document.
func (c *Content) checkXML(p *message.Part, body io.Reader) error {
	err := wellFormed(body, p.Params["charset"])
	if bad, ok := errors.AsType[*notXML](err); ok {
		return c.malformed(ruleXML, "%s is not well-formed XML: %s", c.part(p), short(bad.why))
	}
	return err
}

// wellFormed reads an XML 1.0 document. label is the charset that is said outside of it, if any. A
// *notXML says what is wrong; any other error is r's. Memory does not depend on the document's size.
func wellFormed(r io.Reader, label string) error {
	source := &remember{r: r}
	err := document(source, label)
	switch {
	case source.err != nil && !errors.Is(source.err, io.EOF):
		return source.err
	case err == nil:
		return nil
	}
	if syntax, ok := errors.AsType[*xml.SyntaxError](err); ok {
		return notWellFormed("line %d: %s", syntax.Line, syntax.Msg)
	}
	if _, ok := errors.AsType[*notXML](err); ok {
		return err
	}
	return notWellFormed("%s", strings.TrimPrefix(err.Error(), "xml: "))
}

// remember keeps the error of a reader, which tells it from those of who reads.
type remember struct {
	r   io.Reader
	err error
}

func (r *remember) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil {
		r.err = err
	}
	return n, err
}

func document(r io.Reader, label string) error {
	utf8, err := decoded(r, label)
	if err != nil {
		return err
	}
	d := xml.NewDecoder(&pieces{r: bufio.NewReaderSize(utf8, 4096)})
	d.CharsetReader = func(_ string, in io.Reader) (io.Reader, error) { return in, nil } // decoded has done it
	depth, roots, first := 0, 0, true
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		line, _ := d.InputPos()
		switch t := token.(type) {
		case xml.StartElement:
			if depth++; depth > maxXMLDepth {
				return notWellFormed("line %d: elements are nested more than %d deep", line, maxXMLDepth)
			}
			if depth == 1 {
				roots++
			}
			if roots > 1 {
				return notWellFormed("line %d: there is a second root element", line)
			}
			if name, ok := repeated(t.Attr); ok {
				return notWellFormed("line %d: attribute %s stands twice", line, name)
			}
		case xml.EndElement:
			depth--
		case xml.CharData:
			if depth == 0 && len(bytes.Trim(t, " \t\r\n")) > 0 {
				return notWellFormed("line %d: there is text outside of the root element", line)
			}
		case xml.ProcInst:
			if strings.EqualFold(t.Target, "xml") && (!first || t.Target != "xml") {
				return notWellFormed("line %d: the XML declaration is not at the start", line)
			}
		}
		first = false
	}
	if roots == 0 {
		return notWellFormed("there is no element")
	}
	return nil
}

// repeated finds an attribute that stands twice, which the library allows.
func repeated(attrs []xml.Attr) (string, bool) {
	if len(attrs) < 2 {
		return "", false
	}
	seen := make(map[xml.Name]bool, len(attrs))
	for _, a := range attrs {
		if seen[a.Name] {
			return a.Name.Local, true
		}
		seen[a.Name] = true
	}
	return "", false
}

// declaration is the charset in an XML declaration.
var declaration = regexp.MustCompile(`^<\?xml[ \t\r\n][^>]*?\bencoding[ \t\r\n]*=[ \t\r\n]*["']([A-Za-z][A-Za-z0-9._-]*)["']`)

// maxDeclaration is how far into a document its declaration is looked for, in octets.
const maxDeclaration = 512

// decoded gives a document in UTF-8 and without byte order mark. A byte order mark has the last
// word, then the charset that is said outside, then the declaration (RFC 7303 section 3); the
// last two must agree, as readers differ in which they heed.
func decoded(r io.Reader, label string) (io.Reader, error) {
	br := bufio.NewReaderSize(r, maxDeclaration)
	head, err := br.Peek(maxDeclaration)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	label = strings.ToLower(label)
	wide := func(order unicode.Endianness, names ...string) (io.Reader, error) {
		if label != "" && label != "utf-16" && label != names[0] {
			return nil, notWellFormed("it is in UTF-16, and Content-Type says %s", short(label))
		}
		return &noReplacement{r: unicode.UTF16(order, unicode.UseBOM).NewDecoder().Reader(br)}, nil
	}
	switch {
	case bytes.HasPrefix(head, []byte{0xFE, 0xFF}), bytes.HasPrefix(head, []byte{0, '<', 0, '?'}):
		return wide(unicode.BigEndian, "utf-16be")
	case bytes.HasPrefix(head, []byte{0xFF, 0xFE}), bytes.HasPrefix(head, []byte{'<', 0, '?', 0}):
		return wide(unicode.LittleEndian, "utf-16le")
	case bytes.HasPrefix(head, []byte{0xEF, 0xBB, 0xBF}):
		_, _ = br.Discard(3)
		head = head[3:]
		if label == "" {
			label = "utf-8"
		}
	}
	declared := ""
	if m := declaration.FindSubmatch(head); m != nil {
		declared = strings.ToLower(string(m[1]))
	}
	switch {
	case label == "":
		label = declared
	case declared != "" && canonical(declared) != canonical(label):
		return nil, notWellFormed("it says that it is in %s, and is in %s", short(declared), short(label))
	}
	switch canonical(label) {
	case "utf-8":
		return br, nil
	case "us-ascii":
		return &asciiOnly{r: br}, nil
	case "utf-16be", "utf-16le", "utf-16":
		return nil, notWellFormed("it is not in UTF-16, as it says")
	case "":
		return nil, notWellFormed("its charset %s is unknown", short(label))
	}
	enc, _ := charset.Lookup(label)
	return &noReplacement{r: enc.NewDecoder().Reader(br)}, nil
}

// canonical is a charset's usual name, and empty if it is unknown.
func canonical(label string) string {
	switch label = strings.ToLower(label); label {
	case "", "utf8":
		return "utf-8"
	case "us-ascii", "ascii":
		return "us-ascii" // for the web that is windows-1252
	case "utf-16":
		return label
	}
	_, name := charset.Lookup(label)
	return name
}

// asciiOnly refuses octets over 127.
type asciiOnly struct{ r io.Reader }

func (a *asciiOnly) Read(p []byte) (int, error) {
	n, err := a.r.Read(p)
	for _, c := range p[:n] {
		if c >= 0x80 {
			return 0, notWellFormed("it is not in US-ASCII, as it says")
		}
	}
	return n, err
}

// noReplacement refuses U+FFFD, which is what invalid text is decoded to.
type noReplacement struct {
	r    io.Reader
	tail []byte
}

func (d *noReplacement) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	d.tail = append(d.tail, p[:n]...)
	if bytes.Contains(d.tail, []byte("\uFFFD")) {
		return 0, notWellFormed("it is not in the charset that it says")
	}
	if keep := 2; len(d.tail) > keep {
		d.tail = append(d.tail[:0], d.tail[len(d.tail)-keep:]...)
	}
	return n, err
}
