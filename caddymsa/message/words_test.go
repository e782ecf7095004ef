package message

import (
	"strings"
	"testing"
)

func TestDecodeWords(t *testing.T) {
	for s, want := range map[string]string{
		"plain =? text":                      "plain =? text",
		"=?utf-8?q?caf=C3=A9_x?=":            "café x",
		"=?UTF-8?B?Y2Fmw6k=?=":               "café",
		"a =?utf-8?q?b?= c":                  "a b c",
		"=?utf-8?q?a?= \t=?utf-8?q?b?=":      "ab",
		"=?utf-8?q?a?==?iso-8859-1?q?=E9?=":  "aé",
		"=?utf-8?q?caf=C3?= =?utf-8?q?=A9?=": "café", // cut in two
		"=?utf-8?b?Y2Fmw?= =?utf-8?b?6k=?=":  "caf\uFFFD",
		"=?utf-8*en?q?a?=":                   "a",
		"\"=?utf-8?q?a?=\"":                  "\"a\"",
		"=?utf-8?q?a b?=":                    "a b",
		"=?x-none?q?a?= b":                   "=?x-none?q?a?= b",
		"=?x-none?q?a?= =?utf-8?q?b?=":       "=?x-none?q?a?=b",
		"=?utf-8?x?a?=":                      "=?utf-8?x?a?=",
		"=?utf-8?q?a":                        "=?utf-8?q?a",
		"=?utf-8?q?=41?=":                    "A",
		"=?utf-8?q?=4?= =?utf-8?q??=":        "=4",
		"=?utf-8?q?\xff?=":                   "\uFFFD",
		"=?gb2312?b?xOM=?=":                  "你",
		"=?utf-8?q?a?= b =?utf-8?q?c?=":      "a b c",
		"?= =?utf-8?q?a":                     "?= =?utf-8?q?a",
	} {
		if got := DecodeWords(s); got != want {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
	}
}

func FuzzDecodeWords(f *testing.F) {
	f.Add("a =?utf-8?q?b=41_?= =?iso-2022-jp?b?GyRCRnxLXBsoQg==?= c")
	f.Fuzz(func(t *testing.T, s string) {
		got := DecodeWords(s)
		if !strings.Contains(s, "=?") && got != s || len(got) > 4*len(s) {
			t.Fatalf("%q: %q", s, got)
		}
	})
}
