// Package message reads what policies ask about a submitted message: its header fields and
// its MIME structure. Both are read once for all policies of a submission, as a stream, and
// within bounds that a hostile message cannot move.
package message

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa"
)

// MaxHeader and MaxFields bound the header that HeaderOf reads, in octets and in fields.
const (
	MaxHeader = 1 << 20
	MaxFields = 10_000
)

// ErrHeaderTooLong says that a message's header has more than MaxHeader octets or MaxFields fields.
var ErrHeaderTooLong = errors.New("the message's header has more than 1 MiB or 10,000 fields")

// Header holds a message's header fields in their order (RFC 5322 section 2.2).
type Header []Field

// Field is a header field, or a line of the header that is none.
type Field struct {
	// Name is what stands before the colon, spelled as submitted and without white space behind
	// it. Empty: the line is not a header field.
	Name string
	// Raw is the whole field as submitted: folds, line end and all.
	Raw []byte
}

// HeaderOf returns the header of the message as it was submitted; fields that policies have
// prepended are not in it. One that is too long is a *caddymsa.Refusal, which a policy can return as it is,
// of ErrHeaderTooLong; that is remembered like a result.
func HeaderOf(m *caddymsa.Message) (Header, error) {
	h, err := m.Once(headerKey{}, func() (any, error) {
		r, err := m.Open()
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return ReadHeader(r)
	})
	switch {
	case err == nil:
		return h.(Header), nil
	case errors.Is(err, ErrHeaderTooLong):
		return nil, &caddymsa.Refusal{Code: 554, Status: smtp.EnhancedCode{5, 6, 0}, Rule: "header", Text: "Header is too long", Err: err}
	}
	return nil, err
}

type headerKey struct{}

// ReadHeader reads a header up to the empty line, or the end.
//
// A line that is not a field does not end the header: readers differ in that, and one of them
// might see a From behind it. It is a Field without a name.
func ReadHeader(r io.Reader) (Header, error) {
	hr := readers.Get().(*headerReader)
	hr.Reset(r)
	defer hr.release()
	for start := true; ; { // of a line
		piece, err := hr.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if start && len(bytes.TrimRight(piece, "\r\n")) == 0 {
			return hr.fields(), nil
		}
		if len(hr.block)+len(piece) > MaxHeader {
			return nil, ErrHeaderTooLong
		}
		if start && (len(hr.begins) == 0 || piece[0] != ' ' && piece[0] != '\t') {
			if len(hr.begins) == MaxFields {
				return nil, ErrHeaderTooLong
			}
			hr.begins = append(hr.begins, len(hr.block))
		}
		hr.block = append(hr.block, piece...)
		if errors.Is(err, io.EOF) {
			return hr.fields(), nil
		}
		start = err == nil
	}
}

// headerReader is what reading a header takes, which is used again.
type headerReader struct {
	*bufio.Reader
	block  []byte // all of the header
	begins []int  // where in it a field does
}

var readers = sync.Pool{New: func() any { return &headerReader{Reader: bufio.NewReaderSize(nil, 4096)} }}

// maxReused is how large a header may have been for its room to be used again.
const maxReused = 16 << 10

func (hr *headerReader) release() {
	hr.Reset(nil)
	if cap(hr.block) > maxReused {
		hr.block, hr.begins = nil, nil
	}
	hr.block, hr.begins = hr.block[:0], hr.begins[:0]
	readers.Put(hr)
}

// fields cuts the header into its fields.
func (hr *headerReader) fields() Header {
	if len(hr.begins) == 0 {
		return nil
	}
	block := bytes.Clone(hr.block)
	h := make(Header, len(hr.begins))
	end := len(block)
	for i, at := range slices.Backward(hr.begins) {
		h[i].Raw = block[at:end:end]
		h[i].Name = nameOf(h[i].Raw)
		end = at
	}
	return h
}

// nameOf is the name of a field that has one, which stands in its first line.
func nameOf(raw []byte) string {
	name, _, found := bytes.Cut(raw, []byte(":"))
	if name = bytes.TrimRight(name, " \t"); found && IsName(name) {
		return string(name)
	}
	return ""
}

// IsName tells whether b is a field name (RFC 5322 section 2.2): printable ASCII without colon.
func IsName[T string | []byte](b T) bool {
	for _, c := range []byte(b) {
		if c <= ' ' || c > '~' || c == ':' {
			return false
		}
	}
	return len(b) > 0
}

// Is tells whether this is the field of the name, whose case does not matter.
func (f Field) Is(name string) bool { return strings.EqualFold(f.Name, name) }

// Value is what stands behind the colon, unfolded (RFC 5322 section 2.2.3), without white space
// around it.
func (f Field) Value() string {
	_, value, _ := bytes.Cut(f.Raw, []byte(":"))
	return strings.TrimSpace(unfold.Replace(string(value)))
}

var unfold = strings.NewReplacer("\r\n", "", "\n", "")

// Text is the value with its encoded words decoded, see DecodeWords.
func (f Field) Text() string { return DecodeWords(f.Value()) }

// Values returns the values of all fields of the name, in their order.
func (h Header) Values(name string) []string {
	var values []string
	for _, f := range h {
		if f.Is(name) {
			values = append(values, f.Value())
		}
	}
	return values
}

// First returns the first field of the name.
func (h Header) First(name string) (Field, bool) {
	for _, f := range h {
		if f.Is(name) {
			return f, true
		}
	}
	return Field{}, false
}

// Count is how many fields of the name there are.
func (h Header) Count(name string) (n int) {
	for _, f := range h {
		if f.Is(name) {
			n++
		}
	}
	return n
}
