package textfile

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestList(t *testing.T) {
	for in, want := range map[string]string{
		"\ufeffone\ntwo":                         "one two",
		"one\r\ntwo\r\n":                         "one two",
		"\ufeff# comment\r\n\r\n one \t# more\n": "one",
		"\u00a0one\u00a0\n\u3000two\u2009":       "one two",
		"one,\ntwo;\n,\n":                        "one two",
		"one, two":                               "one two",
		"a#b # c":                                "a#b",
		`"a b"@x, "c\" d"@y,`:                    `"a b"@x "c\" d"@y`,
		"bücher":                                 "bücher",
		"می\u200cخواهم":                          "می\u200cخواهم",
		"":                                       "",
		"\ufeff":                                 "",
	} {
		var got []string
		if err := List(strings.NewReader(in), "f", func(word string) error { got = append(got, word); return nil }); err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
}

func TestErrors(t *testing.T) {
	for in, want := range map[string]string{
		"\xff\xfeo\x00n\x00e\x00":  "f:1: the file is UTF-16",
		"\xfe\xff\x00o\x00n":       "f:1: the file is UTF-16",
		"one\no\x00n\x00":          "f:2: contains NUL",
		"one\rtwo\r":               "f:1: contains a carriage return",
		"one\n\nM\xfcller":         "f:3: is not UTF-8",
		"one\n\ufefftwo":           "f:2: contains an invisible character (U+FEFF)",
		"\u201cone\u201d":          "f:1: contains a typographic quotation mark (U+201C)",
		"one # Bob\u2019s\n\u2018": "f:2: contains a typographic quotation mark (U+2018)",
		"one#\u2019":               "f:1: contains a typographic quotation mark (U+2019)",
		"o\u200bne":                "f:1: contains an invisible character (U+200B)",
		"o\u202ene":                "f:1: contains an invisible character (U+202E)",
		"o\x1b[2Jne":               "f:1: contains a control character (U+001B)",
		"one\n" + strings.Repeat("x", MaxLine+10): "f:2: longer than",
		"one\nbad":       "f:2: no good",
		"one\ntwo three": "f:2: expected one item a line",
	} {
		err := List(strings.NewReader(in), "f", func(word string) error {
			if word == "bad" {
				return errors.New("no good")
			}
			return nil
		})
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%.20q: %v", in, err)
		}
	}
}

// What may be a part of a password stays.
func TestExact(t *testing.T) {
	r := NewReader(strings.NewReader("\ufeffa\u00a0b\xff\u200b\r\nc"), "f")
	r.Exact = true
	var got []string
	for r.Next() {
		got = append(got, fmt.Sprintf("%d %s", r.Number(), r.Line()))
	}
	if r.Err() != nil || !slices.Equal(got, []string{"1 a\u00a0b\xff\u200b", "2 c"}) {
		t.Errorf("%q, %v", got, r.Err())
	}
	r = NewReader(strings.NewReader("a\x00b"), "f")
	if r.Exact = true; r.Next() || r.Err() == nil {
		t.Error("NUL")
	}
}

func FuzzWords(f *testing.F) {
	f.Add([]byte("\ufeffa \"b c\" d,\r\n# e\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := NewReader(bytes.NewReader(in), "f")
		for r.Next() {
			for _, word := range Words(nil, r.Line()) {
				if len(word) == 0 || word[0] == '#' || bytes.ContainsAny(word, "\r\n\x00") {
					t.Errorf("%q", word)
				}
			}
		}
	})
}
