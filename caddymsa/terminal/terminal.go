// Package terminal keeps what strangers wrote from steering the terminals of operators: escape sequences, control
// characters, changes of the writing direction.
package terminal

import (
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// Is tells whether somebody looks at what is written there.
func Is(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// replacement stands for what is not printed.
const replacement = '?'

// Line returns a text of one line in which every character prints.
func Line(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return replacement
		}
		return r
	}, s)
}

// Text returns a text in which every character prints, or ends a line, or is a tab.
func Text(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return r
		}
		if !unicode.IsPrint(r) {
			return replacement
		}
		return r
	}, s)
}

// Writer returns w itself where that is not a terminal, and else a writer of what Text makes of texts. Carriage returns before
// the end of a line are left out.
func Writer(w io.Writer) io.Writer {
	if !Is(w) {
		return w
	}
	return &safe{w: w}
}

// safe keeps the beginning of a character that is not whole yet.
type safe struct {
	w    io.Writer
	rest []byte
}

func (s *safe) Write(p []byte) (int, error) {
	all := append(s.rest, p...)
	whole := len(all)
	for i := max(0, len(all)-utf8.UTFMax+1); i < len(all); i++ {
		if utf8.RuneStart(all[i]) && !utf8.FullRune(all[i:]) {
			whole = i
			break
		}
	}
	if whole == len(all) && whole > 0 && all[whole-1] == '\r' {
		whole--
	}
	text := Text(strings.ReplaceAll(string(all[:whole]), "\r\n", "\n"))
	s.rest = append([]byte(nil), all[whole:]...)
	if _, err := io.WriteString(s.w, text); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Error returns an error whose text is safe to print.
func Error(err error) error {
	if err == nil {
		return nil
	}
	text := Text(err.Error())
	if text == err.Error() {
		return err
	}
	return &printable{text, err}
}

type printable struct {
	text  string
	cause error
}

func (e *printable) Error() string { return e.text }
func (e *printable) Unwrap() error { return e.cause }
