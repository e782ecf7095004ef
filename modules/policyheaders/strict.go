package policyheaders

import (
	"bytes"
	"fmt"
	"unicode/utf8"

	"github.com/caddy-msa/caddy-msa/caddymsa/message"
)

// strict refuses what RFC 5322 does not allow, with RFC 6532 for smtputf8.
func strict(header message.Header, smtputf8 bool) error {
	lines := 0 // before the field
	for _, f := range header {
		if err := strictField(f, smtputf8, lines+1); err != nil {
			return err
		}
		lines += bytes.Count(f.Raw, []byte("\n"))
	}
	for _, name := range once {
		if n := header.Count(name); n > 1 {
			return refuse("strict", fmt.Sprintf("%s header field appears %d times", name, n))
		}
	}
	return nil
}

// strictField looks at a field whose first line has the number.
func strictField(f message.Field, smtputf8 bool, number int) error {
	if f.Name == "" {
		return refuse("strict", fmt.Sprintf("Line %d of the header is not a header field", number))
	}
	if isSpace(f.Raw[len(f.Name)]) {
		return refuse("strict", f.Name+" header field has white space before its colon")
	}
	for line := range bytes.Lines(f.Raw) {
		line = bytes.TrimRight(line, "\r\n")
		switch {
		case len(line) > message.MaxLine:
			return refuse("strict", fmt.Sprintf("Line %d of the header, in %s, is longer than %d octets", number, f.Name, message.MaxLine))
		case len(bytes.TrimLeft(line, " \t")) == 0: // section 3.2.2
			return refuse("strict", fmt.Sprintf("Line %d of the header, in %s, is of white space alone", number, f.Name))
		case bytes.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
			return refuse("strict", f.Name+" header field has control characters")
		}
		number++
	}
	switch {
	case smtputf8 && !utf8.Valid(f.Raw):
		return refuse("strict", f.Name+" header field is not in UTF-8")
	case !smtputf8 && bytes.ContainsFunc(f.Raw, func(r rune) bool { return r >= utf8.RuneSelf }):
		return refuse("strict", f.Name+" header field has octets above 127, which need SMTPUTF8")
	}
	return nil
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' }
