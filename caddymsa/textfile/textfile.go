// Package textfile reads the files that people edit: lists, maps, users. What editors and office programs leave in them is read
// as it is meant (a byte order mark, CR LF, no-break spaces), or is an error that names the line. It knows nothing of Caddy.
package textfile

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode"
	"unicode/utf8"
)

// MaxLine is the longest line, in octets.
const MaxLine = 64 << 10

// ByteOrderMark is what some editors begin a file with. It is no part of what the file says.
const ByteOrderMark = "\ufeff"

// Reader reads a file line by line.
type Reader struct {
	// Exact leaves spaces of other kinds, octets that are not UTF-8 and invisible characters as they are, for files
	// in which they may be a part of a password.
	Exact bool

	name string
	in   *bufio.Reader
	n    int
	line []byte
	last bool
	err  error
}

// NewReader returns a Reader. The name is for errors; without one they name the line only.
func NewReader(r io.Reader, name string) *Reader {
	return &Reader{name: name, in: bufio.NewReaderSize(r, MaxLine+2)}
}

// Next reads the next line, which may be empty. It returns false at the end and at an error.
func (r *Reader) Next() bool {
	if r.err != nil || r.last {
		return false
	}
	r.n++
	line, err := r.in.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		r.err = r.Errorf("longer than %d octets", MaxLine)
	case err == io.EOF:
		r.last = true
		if len(line) == 0 {
			return false
		}
	case err != nil:
		r.err = fmt.Errorf("%s: %w", r.name, err)
	}
	if r.err == nil {
		r.line, r.err = r.clean(bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r")))
	}
	return r.err == nil
}

// Line is what Next read, without its end. It is valid until the next call of Next.
func (r *Reader) Line() []byte { return r.line }

// Number is the line's, from 1.
func (r *Reader) Number() int { return r.n }

// Err is what ended the reading, if not the end of the file.
func (r *Reader) Err() error { return r.err }

// Errorf makes an error that names file and line.
func (r *Reader) Errorf(format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	if r.name == "" {
		return fmt.Errorf("line %d: %w", r.n, err)
	}
	return fmt.Errorf("%s:%d: %w", r.name, r.n, err)
}

func (r *Reader) clean(line []byte) ([]byte, error) {
	if r.n == 1 {
		if IsUTF16(line) {
			return nil, r.Errorf("the file is UTF-16; save it as UTF-8")
		}
		line = bytes.TrimPrefix(line, []byte(ByteOrderMark))
	}
	if plain(line) {
		return line, nil
	}
	switch {
	case bytes.IndexByte(line, 0) >= 0:
		return nil, r.Errorf("contains NUL; if the file is UTF-16, save it as UTF-8")
	case bytes.IndexByte(line, '\r') >= 0:
		return nil, r.Errorf("contains a carriage return that ends no line; save the file with line ends LF or CR LF")
	case r.Exact:
		return line, nil
	case !utf8.Valid(line):
		return nil, r.Errorf("is not UTF-8; save the file as UTF-8")
	}
	var before rune = ' '
	comment := false
	for _, c := range string(line) {
		comment = comment || c == '#' && unicode.IsSpace(before)
		before = c
		reason := unwanted(c)
		if reason == "" && !comment && unicode.In(c, unicode.Pi, unicode.Pf) {
			reason = "a typographic quotation mark"
		}
		if reason != "" {
			return nil, r.Errorf("contains %s (%U); delete it", reason, c)
		}
	}
	return bytes.Map(func(c rune) rune {
		if unicode.Is(unicode.Zs, c) {
			return ' '
		}
		return c
	}, line), nil
}

// plain tells whether a line is printable ASCII and tabs.
func plain(line []byte) bool {
	for _, c := range line {
		if (c < ' ' || c > '~') && c != '\t' {
			return false
		}
	}
	return true
}

// unwanted says what a character is that nobody means to write here.
func unwanted(c rune) string {
	switch {
	case c == '\t', c == '\u200c', c == '\u200d': // joiners are a part of some scripts' spelling
		return ""
	case unicode.IsControl(c), c == '\u2028', c == '\u2029':
		return "a control character"
	case unicode.Is(unicode.Cf, c):
		return "an invisible character"
	}
	return ""
}

// Words appends a line's words to dst, as parts of the line. Blanks within quotes end no word, and # begins a comment
// where a word would begin. A comma or semicolon at the end of a word is not a part of it.
func Words(dst [][]byte, line []byte) [][]byte {
	begin, quoted := -1, false
	for i := 0; i <= len(line); i++ {
		switch {
		case i == len(line) || !quoted && (line[i] == ' ' || line[i] == '\t'):
			if begin >= 0 {
				if word := bytes.TrimRight(line[begin:i], ",;"); len(word) > 0 {
					dst = append(dst, word)
				}
			}
			begin = -1
		case line[i] == '#' && begin < 0:
			return dst
		default:
			if begin < 0 {
				begin = i
			}
			if line[i] == '\\' && quoted && i+1 < len(line) {
				i++
			} else if line[i] == '"' {
				quoted = !quoted
			}
		}
	}
	return dst
}

// Clean returns a whole file as Next reads its lines, each ended by LF, for parsers that want it so.
func Clean(in io.Reader, name string) ([]byte, error) {
	r := NewReader(in, name)
	var all []byte
	for r.Next() {
		all = append(append(all, r.Line()...), '\n')
	}
	return all, r.Err()
}

// List calls add with each item of a file that is a list: one a line, or several with commas between them.
func List(in io.Reader, name string, add func(word string) error) error {
	r := NewReader(in, name)
	var words [][]byte
	for r.Next() {
		words = Words(words[:0], r.Line())
		for i, word := range words {
			if i+1 < len(words) && !separated(r.Line(), word) {
				return r.Errorf("expected one item a line, or commas between them, but found %q before %q", word, words[i+1])
			}
			if err := add(string(word)); err != nil {
				return r.Errorf("%w", err)
			}
		}
	}
	return r.Err()
}

// separated tells whether a comma or semicolon follows a word, which is a part of the line.
func separated(line, word []byte) bool {
	end := cap(line) - cap(word) + len(word)
	return end < len(line) && (line[end] == ',' || line[end] == ';')
}
