package terminal

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

const evil = "hi \x1b]0;OWNED\x07 \x1b[2J\u009b2J\x9b2J\r\n\x08\x00\u202etxt.exe\u2066\x7f\tü\r\n"

func TestTexts(t *testing.T) {
	if got := Line(evil); strings.ContainsFunc(got, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u202e' }) || !strings.Contains(got, "ü") {
		t.Errorf("%q", got)
	}
	if got := Text("a\tb\nc\x1b[31m\r"); got != "a\tb\nc?[31m?" {
		t.Errorf("%q", got)
	}
	cause := errors.New("said \x1b[2J")
	if err := Error(cause); err.Error() != "said ?[2J" || !errors.Is(err, cause) || Error(nil) != nil {
		t.Error(err)
	}
}

// What comes in pieces is the same as what comes at once.
func TestWriter(t *testing.T) {
	var whole bytes.Buffer
	_, _ = (&safe{w: &whole}).Write([]byte(evil))
	for n := 1; n < 7; n++ {
		var b bytes.Buffer
		w := &safe{w: &b}
		for i := 0; i < len(evil); i += n {
			p := []byte(evil[i:min(i+n, len(evil))])
			if m, err := w.Write(p); m != len(p) || err != nil {
				t.Fatal(m, err)
			}
		}
		if b.String() != whole.String() {
			t.Errorf("%d: %q, at once %q", n, b.String(), whole.String())
		}
	}
	if got := whole.String(); strings.ContainsAny(got, "\x1b\x07\x00\x08\r\x7f\u009b\u202e") || !strings.HasSuffix(got, "\tü\n") || strings.Count(got, "\n") != 2 {
		t.Errorf("%q", got)
	}
	var pipe bytes.Buffer
	if Writer(&pipe) != io.Writer(&pipe) {
		t.Error("what is not a terminal gets something else")
	}
}
