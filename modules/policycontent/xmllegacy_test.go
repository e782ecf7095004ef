package policycontent

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
)

// inCharset is a document that says that it is in the character set.
func inCharset(label, text string) []byte {
	return []byte("<?xml version='1.0' encoding='" + label + "'?><a>" + text + " </a>")
}

func passes(doc []byte) bool { return wellFormed(bytes.NewReader(doc), "") == nil }

// What a decoder for mail makes something of, and is legal in none of these.
func TestIllegalOctets(t *testing.T) {
	for label, c := range map[string]struct{ legal, illegal string }{
		"Shift_JIS":      {"\x82\xa0 \xb1\x95\x5c \x88\x9f", "\x80|\xa0|\xfd|\x82|\x87\x40|\xfa\x40|\xf0\x40|\x81\xad|\x85\x40"},
		"windows-31j":    {"\x82\xa0 \xb1\x87\x40 \xfa\x40 \xf0\x40", "\x80|\xa0|\xfd|\xff|\x85\x40"},
		"EUC-JP":         {"\xa4\xa2 \x8e\xb1 \x8f\xb0\xa1", "\x80|\x8e|\x8e\xe0|\xad\xa1|\xf9\xa1|\xfc\xee|\x8f\xa1\xa1|\x8f\xb0|\xa4\x22|\xff"},
		"ISO-2022-JP":    {"\x1b$B$\"0l\x1b(J\\~\x1b(B \x1b$@0l\x1b(B", "\x1b|\x1b(I1\x1b(B|\x1b$(D0!\x1b(B|\x1b$B0\x1b(B|\x1b$B-!\x1b(B|\x80|\xa4\xa2"},
		"gb2312":         {"\xb0\xa1\xf7\xfe\xa1\xa1", "\x80|\x8e\xa1|\x81\x40|\xb0\x40|\xa2\xa1|\xd7\xfa|\xf8\xa1|\xfe\xfe|\xff"},
		"hz-gb-2312":     {"~{0!w~~} ~~ ~\n", "~|~x|~{0~}|~{0\xb0~}|~{\"!~}|~{x!~}|\xb0\xa1|~}"},
		"gbk":            {"\xb0\xa1\x81\x40\xfe\x4f", "\x80|\xff|\xa2\xe3|\xfe\x50|\xa9\x89|\x81\x7f|\xa2\xab"},
		"gb18030":        {"\xb0\xa1\x81\x40\x81\x30\x81\x30\x90\x30\x81\x30\xaa\xa1\xe3\x32\x9a\x35", "\x80|\xff|\x81\x7f|\x81\x30|\x81\x30\x81|\x84\x31\xa4\x38|\x8f\x30\x81\x30|\xe3\x32\x9a\x36|\xfe\x39\xfe\x39"},
		"big5":           {"\xa4\xa4\xc2\xba\xa4\x5c\xa3\xe1", "\x80|\xff|\xfe\xfe|\x8e\xa1|\x87\x40|\xa3\xc0|\xc2\x80|\xfa\x40"},
		"big5-hkscs":     {"\xa4\xa4\x87\x40\xfe\xfe\x88\x62", "\x80|\xff|\x86\x40|\x8e\x69|\xa0\x77"},
		"euc-kr":         {"\xb0\xa1\xc8\xfe\xa2\xe6", "\x80|\x8e\xa1|\xb0\x41|\x81\x41|\xc9\xa1|\xfe\xa1|\xa2\xe9|\xad\xa1"},
		"ks_c_5601-1987": {"\xb0\xa1\x81\x41\xc6\x52", "\x80|\xff|\xc6\x53|\xc9\xa1|\x81\x40"},
		"tis-620":        {"\xa1\xda\xdf\xfb", "\x80|\x85|\x9f|\xa0|\xdb|\xde|\xfc|\xff"},
		"iso-8859-11":    {"\x80\xa0\xa1\xda\xdf\xfb", "\xdb|\xde|\xfc|\xff"},
		"windows-874":    {"\x80\x85\xa0\xa1", "\x81|\x9f|\xdb"},
		"windows-1252":   {"\x80\x9f\xff", "\x81|\x8d|\x8f|\x90|\x9d"},
		"windows-1255":   {"\x80\xe0\xfa", "\x81|\xca|\xd9|\xfb|\xff"},
		"windows-1253":   {"\x80\xc1", "\xaa|\xd2|\xff"},
		"iso-8859-2":     {"\x80\x85\x9f\xff", ""},
		"iso-8859-3":     {"\x80\xff", "\xa5|\xae|\xbe|\xc3|\xd0|\xe3|\xf0"},
		"iso-8859-8":     {"\x9f\xe0", "\xa1|\xbf|\xfb|\xff"},
		"koi8-r":         {"\x80\xc1\xff", ""},
		"macintosh":      {"\x80\xff", ""},
	} {
		if doc := inCharset(label, c.legal); !passes(doc) {
			t.Errorf("refused: %q: %v", doc, wellFormed(bytes.NewReader(doc), ""))
		}
		if c.illegal == "" {
			continue
		}
		for text := range strings.SplitSeq(c.illegal, "|") {
			doc := inCharset(label, text)
			if passes(doc) {
				t.Errorf("passes: %q", doc)
			}
			if outside := fmt.Appendf(nil, "<a>%s </a>", text); wellFormed(bytes.NewReader(outside), label) == nil {
				t.Errorf("passes as %s: %q", label, outside)
			}
		}
	}
	for _, label := range []string{"gb_2312-80", "chinese", "koi", "x-mac-ukrainian", "logical", "x-none"} { // no XML reader's
		if doc := inCharset(label, "x"); passes(doc) {
			t.Errorf("passes: %q", doc)
		}
	}
	for _, cut := range []string{"\x82", "\x82\xa0"} { // what a disk does there is no verdict
		r := newLegacyReader(bufio.NewReader(io.MultiReader(strings.NewReader(cut), failing{io.ErrUnexpectedEOF})), "shift_jis")
		if _, err := io.ReadAll(r); err != io.ErrUnexpectedEOF {
			t.Errorf("%q: %v", cut, err)
		}
	}
}

// charsetLabels are IANA's, and what programs write besides, that may be in an XML declaration.
func charsetLabels(t *testing.T) []string {
	registered, err := os.ReadFile("../../caddymsa/message/charsets.txt")
	if err != nil {
		t.Fatal(err)
	}
	var labels []string
	for line := range strings.Lines(string(registered)) {
		if line[0] == '#' {
			continue
		}
		for label := range strings.FieldsSeq(line) {
			if xmlEncoding.MatchString(label) {
				labels = append(labels, label)
			}
		}
	}
	return labels
}

// judgedCharsets gives the labels that we and some judge take, and of each whether both do.
func judgedCharsets(t *testing.T) (labels []string, both map[string]bool) {
	all := charsetLabels(t)
	var docs [][]byte
	for _, label := range all {
		docs = append(docs, inCharset(label, "x"))
	}
	both = make(map[string]bool)
	for i, verdict := range judged(t, docs) {
		if verdict != "00" && passes(docs[i]) {
			labels = append(labels, all[i])
			both[all[i]] = verdict == "11"
		}
	}
	return labels, both
}

// Every octet, under every name of every legacy character set (outside CI every eighth): where neither expat nor libxml2 takes it
// we do not, where both do we do.
func TestOctetsAsOthersSay(t *testing.T) {
	labels, _ := judgedCharsets(t)
	if len(labels) < 250 {
		t.Fatalf("only %d names of character sets are judged: %v", len(labels), labels)
	}
	var docs [][]byte
	step := installed.Rounds(1, 8)
	for i, label := range labels {
		for c := 0x80 + i%step; c <= 0xFF; c += step {
			docs = append(docs, inCharset(label, string([]byte{byte(c)})))
		}
	}
	compare(t, docs)
}

// compare tries our verdicts against those of the others.
func compare(t *testing.T, docs [][]byte) {
	t.Helper()
	wrong := 0
	for i, verdict := range judged(t, docs) {
		ours := passes(docs[i])
		if ours && verdict == "00" || !ours && verdict == "11" {
			if wrong++; wrong <= 20 {
				t.Errorf("%q: we %t, expat and libxml2 %s", docs[i], ours, verdict)
			}
		}
	}
	if wrong > 20 {
		t.Errorf("%d more", wrong-20)
	}
}

// The 32,768 pairs of octets that begin with one over 7F (outside CI every eighth of these, others in each character set), in
// each character set of several octets: what is legal for us is for libxml2, the only one of the judges that reads
// these; and the other way round, in a part of them.
func TestPairsAsOthersSay(t *testing.T) {
	labels, both := judgedCharsets(t)
	r := rand.New(rand.NewPCG(3, 4))
	var legal, illegal [][]byte
	seen := regexp.MustCompile(`(?i)^(big5|big5-hkscs|euc-jp|euc-kr|gb18030|gb2312|gbk|cp949|shift_jis|windows-31j|windows-949|x-gbk|x-sjis|x-euc-jp|korean)$`)
	step := installed.Rounds(1, 8)
	for i, label := range labels {
		if both[label] || !seen.MatchString(label) {
			continue
		}
		for first := 0x80 + i%step; first <= 0xFF; first += step {
			var line strings.Builder
			for second := 0x20; second <= 0xFF; second++ {
				if second == '<' || second == '&' {
					continue
				}
				pair := string([]byte{byte(first), byte(second)})
				_, err := io.ReadAll(newLegacyReader(bufio.NewReaderSize(strings.NewReader(pair+" "), 16), label))
				switch {
				case err == nil && (second < 0x7F || second > 0x80): // ICU swaps controls
					line.WriteString(pair + " ")
				case r.IntN(installed.Rounds(32, 64)) == 0:
					illegal = append(illegal, inCharset(label, pair))
				}
			}
			legal = append(legal, inCharset(label, line.String()))
		}
	}
	if len(legal) < 128/step*12 {
		t.Fatalf("only %d rows", len(legal))
	}
	compare(t, legal)
	accepted := map[string]int{}
	for i, verdict := range judged(t, illegal) {
		if verdict != "00" && !passes(illegal[i]) {
			accepted[string(bytes.Split(illegal[i], []byte("'"))[3])]++
		}
	}
	t.Logf("of %d pairs that we refuse libxml2 takes: %v", len(illegal), accepted)
}

// What has three octets a character or four, and what switches between sets, in random text.
func TestSequencesAsOthersSay(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	piece := func(pieces ...string) string { return pieces[r.IntN(len(pieces))] }
	octet := func(lo, hi int) string { return string([]byte{byte(lo + r.IntN(hi-lo+1))}) }
	var docs [][]byte
	for range installed.Rounds(4000, 300) {
		docs = append(docs,
			inCharset("euc-jp", "\x8f"+octet(0xA0, 0xFF)+octet(0xA0, 0xFF)),
			inCharset("gb18030", octet(0x80, 0x85)+octet(0x30, 0x39)+octet(0x80, 0xFF)+octet(0x30, 0x39)),
			inCharset("gb18030", octet(0x80, 0xFF)+octet(0x2F, 0x3A)+octet(0x80, 0xFF)+octet(0x2F, 0x3A)),
			inCharset("gb18030", "\x82\x35"+octet(0x8F, 0x92)+octet(0x30, 0x39)),
			inCharset("gb18030", "\x84\x31"+octet(0x81, 0xA5)+octet(0x30, 0x39)),
			inCharset("gb18030", "\xe3\x32"+octet(0x99, 0x9B)+octet(0x30, 0x39)),
		)
		var jis, hz string
		for range 1 + r.IntN(6) {
			jis += piece("\x1b(B", "\x1b(J", "\x1b$B", "\x1b$@", "\x1b(I", "\x1b$(D", "\x1b", "a", " ", "\n", octet(0x21, 0x3B), "0l", "$\"", octet(0x3D, 0x7E)+octet(0x21, 0x7E), "\xa4")
			hz += piece("~{", "~}", "~~", "~\n", "~", "a", " ", octet(0x21, 0x25), "0!", "VP", octet(0x3D, 0x7D)+octet(0x21, 0x7E), "\xb0")
		}
		docs = append(docs, inCharset("iso-2022-jp", jis+piece("", "\x1b(B")), inCharset("hz-gb-2312", hz+piece("", "~}")))
	}
	compare(t, docs)
}

func BenchmarkLegacy(b *testing.B) {
	doc := inCharset("gb18030", strings.Repeat("\xb0\xa1\x84\x31\xa4\x37", 1<<20/6))
	b.SetBytes(int64(len(doc)))
	b.ReportAllocs()
	for b.Loop() {
		if !passes(doc) {
			b.Fatal("refused")
		}
	}
}
