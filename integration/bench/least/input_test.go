package least

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestText(t *testing.T) {
	for _, tt := range []struct{ wire, want string }{
		{".\r\n", ""},
		{"a\r\n.\r\n", "a\r\n"},
		{"..\r\n.\r\n", ".\r\n"},
		{"..a\r\n\r\n...\r\n.\r\n", ".a\r\n\r\n..\r\n"},
		{"a\n.\nb\r.\r\nc\r\n.\r\n", "a\n.\nb\r.\r\nc\r\n"},
		{strings.Repeat("x", 3*textSpace) + "\r\n.\r\n", strings.Repeat("x", 3*textSpace) + "\r\n"},
	} {
		for name, src := range map[string]io.Reader{
			"whole":  strings.NewReader(tt.wire + "QUIT\r\n"),
			"octets": iotest.OneByteReader(strings.NewReader(tt.wire + "QUIT\r\n")),
		} {
			in := input{src: src, buf: make([]byte, lineSpace)}
			var got bytes.Buffer
			if err := in.text(&got); err != nil || got.String() != tt.want {
				t.Errorf("%s: text of %.20q is %.20q, %v; want %.20q", name, tt.wire, got.String(), err, tt.want)
			}
			if line, err := in.line(); err != nil || string(line) != "QUIT" {
				t.Errorf("%s: line after %.20q is %q, %v", name, tt.wire, line, err)
			}
		}
	}
}

func TestTextEndsEarly(t *testing.T) {
	in := input{src: strings.NewReader("a\r\n."), buf: make([]byte, lineSpace)}
	if err := in.text(io.Discard); err != io.EOF {
		t.Errorf("error %v, want EOF", err)
	}
}

func FuzzText(f *testing.F) {
	f.Add("a\r\n.b\r\n..\r\n", 3)
	f.Add("\r\n\r\n.\n.\r", 1)
	f.Fuzz(func(t *testing.T, message string, step int) {
		message += "\r\n"
		wire := strings.ReplaceAll("\r\n"+message, "\r\n.", "\r\n..")[2:] + ".\r\n"
		in := input{src: &steps{wire, max(step, 1)}, buf: make([]byte, lineSpace)}
		var got bytes.Buffer
		if err := in.text(&got); err != nil || got.String() != message {
			t.Errorf("%q came as %q, %v", message, got.String(), err)
		}
	})
}

// steps is a reader that gives few octets at a time.
type steps struct {
	rest string
	n    int
}

func (s *steps) Read(p []byte) (int, error) {
	if s.rest == "" {
		return 0, io.EOF
	}
	n := copy(p[:min(s.n, len(p))], s.rest)
	s.rest = s.rest[n:]
	return n, nil
}
