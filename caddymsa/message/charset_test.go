package message

import (
	"strings"
	"testing"
)

// Names go by IANA's register, and what is in use besides it.
func TestCharsetName(t *testing.T) {
	for name, aliases := range map[string]string{
		"us-ascii":       "US-ASCII ANSI_X3.4-1968 ansi_x3.4-1986 ISO646-US csASCII us iso-ir-6 cp367 ascii 646",
		"utf-8":          "UTF-8 utf8 csUTF8",
		"iso-8859-1":     "latin1 L1 ISO_8859-1 ISO_8859-1:1987 cp819 IBM819 iso8859-1",
		"iso-8859-15":    "Latin-9 ISO_8859-15 iso8859-15",
		"windows-1252":   "CP1252 cswindows1252",
		"gb2312":         "csGB2312",
		"gbk":            "CP936 MS936",
		"ks_c_5601-1987": "korean KSC_5601 iso-ir-149 csKSC56011987",
		"shift_jis":      "MS_Kanji csShiftJIS sjis",
		"tis-620":        "csTIS620 ISO-8859-11",
		"utf-7":          "csUTF7",
		"x-none":         "X-None",
		"":               "",
	} {
		for alias := range strings.FieldsSeq(aliases) {
			if got := CharsetName(alias); got != name {
				t.Errorf("%s is %s, want %s", alias, got, name)
			}
			if KnownCharset(alias) != (name != "x-none") {
				t.Errorf("%s is known, or is not", alias)
			}
		}
	}
}

func TestCharset(t *testing.T) {
	for label, c := range map[string][2]string{
		"ANSI_X3.4-1968": {"a", "a"}, "latin1": {"\xe9", "é"}, "cp1252": {"\x80", "€"}, "csGB2312": {"\xc4\xe3", "你"}, "korean": {"\xb0\xa1", "가"}, "MS_Kanji": {"\x82\xa0", "あ"}, "csUTF8": {"é", "é"},
	} {
		text, err := Charset(label).NewDecoder().String(c[0])
		if err != nil || text != c[1] {
			t.Errorf("%s: %q, %v", label, text, err)
		}
	}
	for _, label := range []string{"x-none", "", "utf-7", "iso-2022-kr", "replacement", "x-user-defined", strings.Repeat("x", 1<<20)} {
		if Charset(label) != nil {
			t.Errorf("%.20s is decoded", label)
		}
	}
	if got := DecodeWords("=?ANSI_X3.4-1968?Q?a?= =?cp819?Q?=E9?="); got != "aé" {
		t.Error(got)
	}
}
