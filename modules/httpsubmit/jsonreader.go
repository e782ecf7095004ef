package httpsubmit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// jsonReader reads JSON (RFC 8259) while it comes, and texts of any length without holding them. It knows what a
// document is made of: objects, lists, texts and null. It is stricter than encoding/json, which takes the last of two
// members of a name, and makes U+FFFD of what is not Unicode: what cannot be told is refused here.
type jsonReader struct {
	r     *bufio.Reader
	place []string // where it is, for errors
	// hold is asked before octets are kept in memory.
	hold func(n int) error
}

const (
	maxMember  = 256 // octets of a member's name
	maxShort   = 2 * maxValue
	jsonBuffer = 8 << 10
)

func newJSONReader(r io.Reader, hold func(int) error) *jsonReader {
	return &jsonReader{r: bufio.NewReaderSize(r, jsonBuffer), hold: hold}
}

// bad is an error in what is at this place.
func (j *jsonReader) bad(format string, args ...any) error {
	return bad("%s: %s", j.where(), fmt.Sprintf(format, args...))
}

// where names the place, as attachments[0].content.
func (j *jsonReader) where() string {
	if len(j.place) == 0 {
		return "JSON"
	}
	return strings.TrimPrefix(strings.Join(j.place, ""), ".")
}

// at reads what is at a place below this one.
func (j *jsonReader) at(place string, read func() error) error {
	j.place = append(j.place, place)
	err := read()
	j.place = j.place[:len(j.place)-1]
	return err
}

// failed is an error of the reader below.
func (j *jsonReader) failed(err error) error {
	if errors.Is(err, io.EOF) {
		return j.bad("the JSON ends here, and is not complete")
	}
	return err
}

// next is the first octet of what comes behind white space.
func (j *jsonReader) next() (byte, error) {
	for {
		c, err := j.r.ReadByte()
		if err != nil {
			return 0, err
		}
		switch c {
		case ' ', '\t', '\r', '\n':
			continue
		}
		return c, j.r.UnreadByte()
	}
}

// take takes an octet if it comes next.
func (j *jsonReader) take(c byte) (bool, error) {
	have, err := j.next()
	if err != nil {
		return false, j.failed(err)
	}
	if have != c {
		return false, nil
	}
	_, err = j.r.Discard(1)
	return true, err
}

// kinds are what a value can begin with.
var kinds = map[byte]string{'{': "an object", '[': "a list", '"': "a text", 'n': "null", 't': "true", 'f': "false"}

// expect takes what a value begins with.
func (j *jsonReader) expect(want byte) error {
	have, err := j.next()
	if err != nil {
		return j.failed(err)
	}
	if have == want {
		_, err = j.r.Discard(1)
		return err
	}
	return j.unexpected(have, kinds[want])
}

func (j *jsonReader) unexpected(have byte, want string) error {
	kind, ok := kinds[have]
	switch {
	case ok:
	case have == '-' || have >= '0' && have <= '9':
		kind = "a number"
	default:
		return j.bad("JSON cannot have %q here; expected %s", have, want)
	}
	return j.bad("%s is not expected here, but %s", kind, want)
}

// null takes null if it comes next.
func (j *jsonReader) null() (bool, error) {
	if have, err := j.next(); err != nil || have != 'n' {
		return false, j.failed(err)
	}
	b, err := j.r.Peek(4)
	if string(b) != "null" {
		if err != nil {
			return false, j.failed(err)
		}
		return false, j.bad("JSON has null, true and false, and no other word")
	}
	_, err = j.r.Discard(4)
	return true, err
}

// members reads an object, each member by a call.
func (j *jsonReader) members(read func(name string) error) error {
	if err := j.expect('{'); err != nil {
		return err
	}
	seen := make(map[string]bool)
	for first := true; ; first = false {
		if over, err := j.over('}', first); over || err != nil {
			return err
		}
		name, err := j.text(maxMember)
		if err != nil {
			return err
		}
		if colon, err := j.take(':'); !colon {
			if err != nil {
				return err
			}
			return j.bad("expected a colon behind %s", strconv.Quote(name))
		}
		err = j.at("."+name, func() error {
			if seen[name] {
				return j.bad("specified twice")
			}
			seen[name] = true
			return read(name)
		})
		if err != nil {
			return err
		}
	}
}

// object reads one of which all members are known. What is null is as if it were not there.
func (j *jsonReader) object(known map[string]func() error) error {
	return j.members(func(name string) error {
		read, ok := known[name]
		if !ok {
			return j.bad("a member that is not known")
		}
		if null, err := j.null(); null || err != nil {
			return err
		}
		return read()
	})
}

// list reads a list, each element by a call.
func (j *jsonReader) list(read func(n int) error) error {
	if err := j.expect('['); err != nil {
		return err
	}
	for n := 0; ; n++ {
		if over, err := j.over(']', n == 0); over || err != nil {
			return err
		}
		if err := j.at("["+strconv.Itoa(n)+"]", func() error { return read(n) }); err != nil {
			return err
		}
	}
}

// over tells whether an object or list ends here, and takes the comma if it does not.
func (j *jsonReader) over(end byte, first bool) (bool, error) {
	if over, err := j.take(end); over || err != nil {
		return over, err
	}
	if first {
		return false, nil
	}
	comma, err := j.take(',')
	if err == nil && !comma {
		err = j.bad("expected a comma, or %q", end)
	}
	return false, err
}

// end looks that nothing comes behind the document.
func (j *jsonReader) end() error {
	switch _, err := j.next(); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return err
	}
	return j.bad("there is something behind its end")
}

// text reads a short text.
func (j *jsonReader) text(most int) (string, error) {
	var b bytes.Buffer
	if err := j.copyText(&bounded{to: &b, left: most}); err != nil {
		if errors.Is(err, errLong) {
			return "", unprocessable("%s is longer than %d octets", j.where(), most)
		}
		return "", err
	}
	if err := j.hold(b.Len()); err != nil {
		return "", err
	}
	return b.String(), nil
}

// bounded takes so many octets.
type bounded struct {
	to   io.Writer
	left int
}

var errLong = errors.New("the text is too long")

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, errLong
	}
	return b.to.Write(p)
}

// copyText writes a text in pieces of whole characters.
func (j *jsonReader) copyText(w io.Writer) error {
	if err := j.expect('"'); err != nil {
		return err
	}
	for {
		if _, err := j.r.Peek(1); err != nil {
			return j.failed(err)
		}
		b, _ := j.r.Peek(j.r.Buffered())
		if n := plain(b); n > 0 {
			if _, err := w.Write(b[:n]); err != nil {
				return err
			}
			if _, err := j.r.Discard(n); err != nil {
				return err
			}
			continue
		}
		if b[0] == '"' {
			_, err := j.r.Discard(1)
			return err
		}
		char, err := j.character(b[0])
		if err != nil {
			return err
		}
		if _, err := w.Write(utf8.AppendRune(nil, char)); err != nil {
			return err
		}
	}
}

// plain is how many octets stand for themselves, in whole characters.
func plain(b []byte) int {
	for i := 0; i < len(b); {
		switch c := b[i]; {
		case c == '"' || c == '\\' || c < ' ':
			return i
		case c < utf8.RuneSelf:
			i++
		default:
			char, size := utf8.DecodeRune(b[i:])
			if char == utf8.RuneError && size == 1 {
				return i
			}
			i += size
		}
	}
	return len(b)
}

// character reads one that begins so: an escape, or one that the buffer did not have whole.
func (j *jsonReader) character(first byte) (rune, error) {
	switch {
	case first == '\\':
		return j.escape()
	case first < ' ':
		return 0, j.bad("a text has a control character that is not escaped")
	}
	b, err := j.r.Peek(utf8.UTFMax)
	char, size := utf8.DecodeRune(b)
	if char == utf8.RuneError && size < 2 {
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		return 0, j.bad("a text is not in UTF-8")
	}
	_, err = j.r.Discard(size)
	return char, err
}

var escapes = map[byte]rune{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// escape reads what begins with a backslash; the character beyond U+FFFF is two of them (RFC 8259 section 7).
func (j *jsonReader) escape() (rune, error) {
	b, err := j.r.Peek(2)
	if err != nil {
		return 0, j.failed(err)
	}
	if char, ok := escapes[b[1]]; ok {
		_, err = j.r.Discard(2)
		return char, err
	}
	char, ok, err := j.unit()
	switch {
	case err != nil:
		return 0, err
	case !ok:
		return 0, j.bad("a text has a backslash that begins no escape")
	case !utf16.IsSurrogate(char):
		return char, nil
	}
	low, ok, err := j.unit()
	if err != nil {
		return 0, err
	}
	if char = utf16.DecodeRune(char, low); !ok || char == utf8.RuneError {
		return 0, j.bad("a text has half of a surrogate pair")
	}
	return char, nil
}

// unit reads \uXXXX, if that comes.
func (j *jsonReader) unit() (char rune, ok bool, err error) {
	b, err := j.r.Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, false, err
	}
	hex, ok := bytes.CutPrefix(b, []byte(`\u`))
	n, err := strconv.ParseUint(string(hex), 16, 16)
	if !ok || len(hex) < 4 || err != nil {
		return 0, false, nil
	}
	_, err = j.r.Discard(6)
	return rune(n), true, err
}
