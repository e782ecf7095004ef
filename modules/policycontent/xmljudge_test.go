package policycontent

import (
	"archive/zip"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
)

// The W3C's conformance cases that have no document type declaration.
func TestWellFormedConformance(t *testing.T) {
	suite, err := zip.OpenReader("testdata/xmlconf.zip")
	if err != nil {
		t.Fatal(err)
	}
	defer suite.Close()
	count := map[string]int{}
	for _, f := range suite.File {
		kind, _, _ := strings.Cut(f.Name, "/")
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		doc, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if kind == "README" {
			continue
		}
		count[kind]++
		if err := wellFormed(bytes.NewReader(doc), ""); (err == nil) != (kind == "wf") {
			t.Errorf("%s: %v", f.Name, err)
		}
	}
	if count["wf"] < 50 || count["not-wf"] < 200 {
		t.Fatalf("the suite has %v cases", count)
	}
}

// xmlJudge reads documents in base64, one a line, and prints what expat and libxml2 say of each.
const xmlJudge = `
import sys, base64, xml.parsers.expat
from lxml import etree
def expat(b):
    try: xml.parsers.expat.ParserCreate().Parse(b, True); return '1'
    except Exception: return '0'
def libxml2(b):
    p = etree.XMLParser(resolve_entities=False, no_network=True)
    try: etree.fromstring(b, p); return '1'
    except etree.XMLSyntaxError: return '1' if all(x.domain_name == 'NAMESPACE' or x.level_name == 'WARNING' for x in p.error_log) else '0'
for line in sys.stdin:
    b = base64.b64decode(line)
    print(expat(b) + libxml2(b), flush=True)
`

// pythonWithLXML is a Python that has libxml2, or nothing.
var pythonWithLXML = sync.OnceValue(func() string {
	for _, p := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(p, "-c", "import lxml").Run() == nil {
			return p
		}
	}
	return ""
})

// seeds are what the mutated documents are made of.
var seeds = []string{
	"<?xml version=\"1.0\" encoding=\"UTF-8\" standalone='yes'?>\n<!-- a comment --><?target data?><a b='1' c=\"&lt;2\">x &amp; y<d/><![CDATA[ <&> ]]></a >\n<!--e--> ",
	"<?xml version='1.0'?><r xmlns:n='urn:x'><n:e n:a='&#x1F600;' a='&#9;'/>]] &gt; é漢\U0001F600</r>",
	"<?xml version=\"1.1\" encoding=\"us-ascii\"?><a><?p?><?q r?><b></b></a><?s ?>",
	"<a><!----><b c='>' d='\"' e=\"'\"/>&quot;&apos;&#65;&#xE9;</a>",
	"<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><a b='\xe9'>\xe9</a>",
	"\xEF\xBB\xBF<a>\u00b7</a>",
	"<?xml version='1.0' encoding='KOI8-R'?><\xc9\xcd\xd1 a='\x80\xff'>\xc1</\xc9\xcd\xd1>",
	"<?xml version='1.0' encoding='windows-1255'?><\xe0\xe1>\xd7\xfd\xc9</\xe0\xe1>",
	"<?xml version='1.0' encoding='Shift_JIS'?><\x82\xa0 a='\x83\x5c'>\xb1\x95\x5c</\x82\xa0>",
	"<?xml version='1.0' encoding='EUC-JP'?><\xa4\xa2>\x8e\xb1\x8f\xb0\xa1</\xa4\xa2>",
	"<?xml version='1.0' encoding='ISO-2022-JP'?><a>\x1b$B$\"0l\x1b(J\\~\x1b(B</a>",
	"<?xml version='1.0' encoding='Big5'?><\xa4\xa4>\xc2\xba\xa4\x5c</\xa4\xa4>",
	"<?xml version='1.0' encoding='GB2312'?><\xd6\xd0 a='\xb0\xa1'>\xf7\xfe</\xd6\xd0>",
	"<?xml version='1.0' encoding='GB18030'?><\xd6\xd0>\x81\x40\x82\x30\x81\x30</\xd6\xd0>",
	"<?xml version='1.0' encoding='EUC-KR'?><\xb0\xa1>\xc8\xfe</\xb0\xa1>",
}

// pieces are what is put in.
var pieces = []string{
	" ", "\t", "\n", "\r", "<", ">", "&", "'", "\"", "=", "/", "?", "!", "-", "--", "-->", "<!--", "]", "]]>", "<![CDATA[", "<?", "?>", "<?xml?>", "<?xml version='1.0'?>", "<?XML x?>",
	"&#0;", "&#xD800;", "&#xFFFE;", "&#x110000;", "&#xFFFFFFFFF1;", "&#;", "&#x;", "&#X41;", "&a;", "&lt", "&lt;", "&#32;", "a", "x:y", ":", "1", ".", "_", "a='1'", " a='1'", " b=\"2\"", "xmlns=''", "standalone='maybe'",
	" encoding='utf-8'", " encoding='UTF-16'", " encoding='8859'", " version='1.0'", "version='1.'", "\x00", "\x01", "\x7f", "\x0c", "\x1f", "\xff", "\xc0\x80", "\xed\xa0\x80", "\xef\xbf\xbe", "\xef\xbf\xbd", "\u0085", "\u2028", "é", "漢", "×", "\u0300", "\U0001F600",
	"<a>", "</a>", "<a/>", "</ a>", "<a b>", "<a b=>", "<a b=c>", "xml", "\xEF\xBB\xBF",
}

// mutate changes a document in a few places.
func mutate(r *rand.Rand, doc []byte) []byte {
	doc = bytes.Clone(doc)
	for range 1 + r.IntN(3) {
		at := r.IntN(len(doc) + 1)
		piece := []byte(pieces[r.IntN(len(pieces))])
		end := min(len(doc), at+r.IntN(4))
		switch r.IntN(6) {
		case 0: // take away
			doc = append(doc[:at:at], doc[end:]...)
		case 1: // twice
			doc = append(doc[:end:end], doc[at:]...)
		case 2: // replace
			doc = append(append(doc[:at:at], piece...), doc[end:]...)
		case 3: // an octet
			if at < len(doc) {
				doc[at] = byte(r.IntN(256))
			}
		case 4: // a longer stretch
			end = min(len(doc), at+r.IntN(len(doc)+1))
			doc = append(doc[:at:at], doc[end:]...)
		default: // put in
			doc = append(append(doc[:at:at], piece...), doc[at:]...)
		}
	}
	return doc
}

// judged gives what expat and libxml2 say of each document: "10" is taken by the first only.
func judged(t *testing.T, docs [][]byte) []string {
	t.Helper()
	python := pythonWithLXML()
	if python == "" {
		installed.Lack(t, "python3-lxml", errors.New("no python3 has lxml"))
	}
	cmd := exec.Command(python, "-c", xmlJudge)
	var in bytes.Buffer
	for _, doc := range docs {
		fmt.Fprintln(&in, base64.StdEncoding.EncodeToString(doc))
	}
	cmd.Stdin, cmd.Stderr = &in, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	verdicts := strings.Fields(string(out))
	if len(verdicts) != len(docs) {
		t.Fatalf("%d verdicts on %d documents", len(verdicts), len(docs))
	}
	return verdicts
}

// What neither expat nor libxml2 takes is refused, and what both take passes, in thousands of
// documents that are nearly well-formed. WELLFORMED_SEED tries others.
func TestWellFormedAsOthersSay(t *testing.T) {
	documents := installed.Rounds(20_000, 3000)
	seed, _ := strconv.ParseUint(os.Getenv("WELLFORMED_SEED"), 10, 64)
	r := rand.New(rand.NewPCG(1, 2+seed))
	var docs [][]byte
	for range documents {
		doc := mutate(r, []byte(seeds[r.IntN(len(seeds))]))
		if r.IntN(8) == 0 {
			doc = inUTF16(r, doc)
		}
		docs = append(docs, doc)
	}
	var refused, passed int
	for i, verdict := range judged(t, docs) {
		err := wellFormed(bytes.NewReader(docs[i]), "")
		if err != nil && stricter(err) {
			continue
		}
		switch {
		case verdict == "00" && err == nil:
			t.Errorf("passes: %q", docs[i])
		case verdict == "11" && err != nil:
			t.Errorf("refused: %q: %v", docs[i], err)
		case err == nil:
			passed++
		default:
			refused++
		}
	}
	if refused < documents/4 || passed < documents/20 {
		t.Fatalf("%d refused, %d passed: that proves little", refused, passed)
	}
	t.Logf("%d refused, %d passed", refused, passed)
}

// stricter tells whether a document is refused for what the recommendation forbids and both judges let
// pass, or for what is not supported.
func stricter(err error) bool {
	for _, why := range []string{"document type declaration", "is unknown", "does not say so", "version is malformed", "and is in utf-8"} {
		if strings.Contains(err.Error(), why) {
			return true
		}
	}
	return false
}

// inUTF16 is the document in UTF-16 of either kind, with a byte order mark or without.
func inUTF16(r *rand.Rand, doc []byte) []byte {
	text := utf16Of(string(doc), r.IntN(2) == 0)
	if r.IntN(4) == 0 {
		text = text[2:]
	}
	return []byte(text)
}

// A disk's failure is not a verdict, whatever was read before.
func TestWellFormedNotJudged(t *testing.T) {
	broken := errors.New("broken disk")
	if err := wellFormed(io.MultiReader(strings.NewReader("<a>&#xD8"), failing{broken}), ""); !errors.Is(err, broken) {
		t.Error(err)
	}
}
