package policycontent

import (
	"bufio"
	"bytes"
	_ "embed"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/text/transform"

	"github.com/caddy-msa/caddy-msa/caddymsa/message"
)

// Decoders for mail and browsers take whatever makes some sense in a character set of before Unicode,
// and those of one octet a character leave C1 controls out of ISO 8859. XML readers do neither, so
// what is legal is said here, and the decoder asked only which character it is.

//go:embed xmllegacy.txt
var legacyTables string

// legalOctets says what is legal in a character set.
type legalOctets struct {
	alone octetSet        // characters of one octet over 7F
	more  [256][]sequence // characters of several octets, by the first
}

// sequence is what may come behind the first octet of a character.
type sequence []*octetSet

type octetSet [256]bool

// legal has the character sets of xmllegacy.txt.
var legal = sync.OnceValue(func() map[string]*legalOctets {
	tables := make(map[string]*legalOctets)
	var table *legalOctets
	for line := range strings.Lines(legacyTables) {
		firsts, lasts, several := strings.Cut(line, ":")
		switch {
		case line[0] == '#':
		case line[0] != '\t':
			table = new(legalOctets)
			tables[strings.TrimSpace(line)] = table
		case several:
			table.add(strings.Fields(firsts), parseOctets(strings.Fields(lasts)))
		default:
			table.alone = *parseOctets(strings.Fields(line))
		}
	}
	return tables
})

// add adds characters of several octets.
func (l *legalOctets) add(firsts []string, last *octetSet) {
	var behind sequence
	for _, octets := range firsts[1:] {
		behind = append(behind, parseOctets(strings.Split(octets, ",")))
	}
	behind = append(behind, last)
	for first, in := range parseOctets(strings.Split(firsts[0], ",")) {
		if in {
			l.more[first] = append(l.more[first], behind)
		}
	}
}

// parseOctets reads octets in hexadecimal and ranges of them.
func parseOctets(ranges []string) *octetSet {
	set := new(octetSet)
	for _, r := range ranges {
		first, last, is := strings.Cut(r, "-")
		if !is {
			last = first
		}
		lo, err := strconv.ParseUint(first, 16, 8)
		hi, err2 := strconv.ParseUint(last, 16, 8)
		if err != nil || err2 != nil {
			panic("xmllegacy.txt: " + r)
		}
		for c := lo; c <= hi; c++ {
			set[c] = true
		}
	}
	return set
}

// maxSequence is how many octets a character of a legacy character set has at most.
const maxSequence = 4

// length is how many octets the character at the start of head has, of those that have more than one; 0
// if there is none.
func (l *legalOctets) length(head []byte) int {
next:
	for _, behind := range l.more[head[0]] {
		if len(behind) >= len(head) {
			continue
		}
		for i, set := range behind {
			if !set[head[1+i]] {
				continue next
			}
		}
		return 1 + len(behind)
	}
	return 0
}

// unmapped stands for a legal character that our decoder does not know: it may be in a document, but
// in no name.
var unmapped = []byte("\uE000")

// legacyReader decodes a legacy character set.
type legacyReader struct {
	r        *bufio.Reader
	legal    *legalOctets // nil: what the decoder knows
	controls bool         // C1 controls are legal
	decoder  transform.Transformer
	buffer   [4 * utf8.UTFMax]byte
	octet    [1]byte
	alone    [256]string // characters of one octet, in UTF-8, as far as they were seen
}

// newLegacyReader returns nil if the character set is not known. label is what the document calls it.
func newLegacyReader(r *bufio.Reader, label string) io.Reader {
	name := message.CharsetName(label)
	table := name
	switch {
	case !message.KnownCharset(label):
		return nil
	case name == "gb_2312-80": // registered without ASCII beside it, and no reader's
		return nil
	case name == "iso-2022-jp":
		r, name, table = bufio.NewReader(&byCharacter{next: (&iso2022{r: r}).next}), "euc-jp", "euc-jp"
	case name == "hz-gb-2312":
		r, name, table = bufio.NewReader(&byCharacter{next: (&hz{r: r}).next}), "gb2312", "gb2312"
	case name == "tis-620" && strings.HasPrefix(strings.ToLower(label), "iso"): // an alias with more in it
		table = "iso-8859-11"
	}
	enc := message.Charset(name)
	if enc == nil {
		return nil
	}
	l := &legacyReader{r: r, legal: legal()[table], controls: strings.HasPrefix(name, "iso-8859-"), decoder: enc.NewDecoder()}
	return &byCharacter{next: l.next}
}

// single gives a character of one octet in UTF-8, or nothing.
func (l *legacyReader) single(c byte) string {
	if l.alone[c] != "" || c >= utf8.RuneSelf && l.legal != nil && !l.legal.alone[c] {
		return l.alone[c]
	}
	l.octet[0] = c
	text := l.decode(l.octet[:])
	if bytes.Equal(text, unmapped) && l.legal == nil && !(l.controls && c < 0xA0) {
		return ""
	}
	l.alone[c] = string(text)
	return l.alone[c]
}

// decode gives a character in UTF-8, until it is called again.
func (l *legacyReader) decode(octets []byte) []byte {
	l.decoder.Reset()
	n, read, err := l.decoder.Transform(l.buffer[:], octets, true)
	if err != nil || read < len(octets) || n == 0 || bytes.ContainsRune(l.buffer[:n], utf8.RuneError) {
		return unmapped
	}
	return l.buffer[:n]
}

func (l *legacyReader) next(to []byte) ([]byte, error) {
	c, err := l.r.ReadByte()
	if err != nil {
		return to, err
	}
	if text := l.single(c); text != "" {
		return append(to, text...), nil
	}
	if l.legal == nil || l.legal.more[c] == nil {
		return to, errNotInCharset()
	}
	if err := l.r.UnreadByte(); err != nil {
		return to, err
	}
	head, err := l.r.Peek(maxSequence)
	if err != nil && !errors.Is(err, io.EOF) {
		return to, err
	}
	n := l.legal.length(head)
	if n == 0 {
		return to, errNotInCharset()
	}
	to = append(to, l.decode(head[:n])...)
	_, err = l.r.Discard(n)
	return to, err
}

// byCharacter reads what next appends, which is a character at a time.
type byCharacter struct {
	next  func(to []byte) ([]byte, error)
	ready []byte
	err   error
}

func (b *byCharacter) Read(p []byte) (int, error) {
	for len(b.ready) < len(p) && b.err == nil {
		b.ready, b.err = b.next(b.ready)
	}
	n := copy(p, b.ready)
	b.ready = b.ready[:copy(b.ready, b.ready[n:])]
	if n == 0 && len(p) > 0 {
		return 0, b.err
	}
	return n, nil
}

func errNotInCharset() error { return notWellFormed("it is not in the charset that it says") }

// notRead is the error where a document ended, or a disk failed, in the middle of a character.
func notRead(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return errNotInCharset()
	}
	return err
}
