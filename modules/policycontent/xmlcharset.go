package policycontent

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"regexp"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/caddy-msa/caddy-msa/caddymsa/message"
)

// xmlCharset is how a document's octets are read. What its XML declaration says must agree, since
// readers differ in which of the two they heed.
type xmlCharset struct {
	name   string // as message.CharsetName has it
	marked bool   // a document without an XML declaration may be in it
	agrees func(declared string) bool
}

// declaration is the charset in an XML declaration, before it is known whether that is well-formed.
var declaration = regexp.MustCompile(`^<\?xml[ \t\r\n][^>]*?\bencoding[ \t\r\n]*=[ \t\r\n]*["']([A-Za-z][A-Za-z0-9._-]*)["']`)

// maxDeclaration is how far into a document its declaration is looked for, in octets.
const maxDeclaration = 512

// decoded gives a document in UTF-8 and without byte order mark. A byte order mark has the last
// word, then the charset that is said outside, then the declaration (RFC 7303 section 3).
func decoded(r io.Reader, label string) (io.Reader, xmlCharset, error) {
	br := bufio.NewReaderSize(r, 4096)
	head, err := br.Peek(maxDeclaration)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, xmlCharset{}, err
	}
	said := label
	if label != "" {
		label = message.CharsetName(label)
	}
	switch {
	case bytes.HasPrefix(head, []byte{0xFE, 0xFF}):
		_, _ = br.Discard(2)
		return wide(br, label, "utf-16be", true)
	case bytes.HasPrefix(head, []byte{0xFF, 0xFE}):
		_, _ = br.Discard(2)
		return wide(br, label, "utf-16le", true)
	case bytes.HasPrefix(head, []byte{0, '<'}):
		return wide(br, label, "utf-16be", false)
	case bytes.HasPrefix(head, []byte{'<', 0}):
		return wide(br, label, "utf-16le", false)
	case bytes.HasPrefix(head, []byte{0xEF, 0xBB, 0xBF}):
		_, _ = br.Discard(3)
		if label != "" && label != "utf-8" {
			return nil, xmlCharset{}, notWellFormed("it is in UTF-8, and Content-Type says %s", short(label))
		}
		label = "utf-8"
	case label == "":
		label = "utf-8"
		if m := declaration.FindSubmatch(head); m != nil {
			said = string(m[1])
			label = message.CharsetName(said)
		}
	}
	charset := xmlCharset{name: label, marked: true, agrees: func(declared string) bool { return message.CharsetName(declared) == label }}
	switch {
	case label == "utf-8":
		return br, charset, nil
	case label == "us-ascii":
		return &asciiOnly{r: br}, charset, nil
	case strings.HasPrefix(label, "utf-16"), strings.HasPrefix(label, "utf-32"), strings.HasPrefix(label, "iso-10646-ucs-"):
		return nil, charset, notWellFormed("it is not in %s, as it says", strings.ToUpper(label))
	}
	text := newLegacyReader(br, said)
	if text == nil {
		return nil, charset, notWellFormed("its charset %s is unknown", short(label))
	}
	return text, charset, nil
}

// wide reads UTF-16. Without a byte order mark the charset has to be said (XML 1.0 section 4.3.3).
func wide(br *bufio.Reader, label, order string, marked bool) (io.Reader, xmlCharset, error) {
	if label != "" && label != "utf-16" && label != order {
		return nil, xmlCharset{}, notWellFormed("it is in UTF-16, and Content-Type says %s", short(label))
	}
	charset := xmlCharset{name: "utf-16", marked: marked || label != "", agrees: func(declared string) bool {
		declared = message.CharsetName(declared)
		return declared == "utf-16" || declared == order
	}}
	return &byCharacter{next: (&fromUTF16{r: br, big: order == "utf-16be"}).next}, charset, nil
}

// fromUTF16 decodes UTF-16. The library's decoder makes U+FFFD of what is invalid, which may also be
// in a document.
type fromUTF16 struct {
	r   *bufio.Reader
	big bool
}

func (d *fromUTF16) next(to []byte) ([]byte, error) {
	r, err := d.unit()
	if err != nil {
		return to, err
	}
	if utf16.IsSurrogate(r) {
		low, err := d.unit()
		if err != nil {
			return to, notRead(err)
		}
		if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
			return to, errNotInCharset()
		}
	}
	return utf8.AppendRune(to, r), nil
}

// unit reads 16 bits.
func (d *fromUTF16) unit() (rune, error) {
	first, err := d.r.ReadByte()
	if err != nil {
		return 0, err
	}
	second, err := d.r.ReadByte()
	switch {
	case err != nil:
		return 0, notRead(err)
	case d.big:
		return rune(first)<<8 | rune(second), nil
	}
	return rune(second)<<8 | rune(first), nil
}

// asciiOnly refuses octets over 127.
type asciiOnly struct{ r io.Reader }

func (a *asciiOnly) Read(p []byte) (int, error) {
	n, err := a.r.Read(p)
	for _, c := range p[:n] {
		if c >= utf8.RuneSelf {
			return 0, notWellFormed("it is not in US-ASCII, as it says")
		}
	}
	return n, err
}
