package policycontent

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
)

// utf16Of is s in UTF-16, with a byte order mark.
func utf16Of(s string, big bool) string {
	var b bytes.Buffer
	for _, u := range utf16.Encode([]rune("\uFEFF" + s)) {
		if big {
			b.Write([]byte{byte(u >> 8), byte(u)})
		} else {
			b.Write([]byte{byte(u), byte(u >> 8)})
		}
	}
	return b.String()
}

//
func TestWellFormed(t *testing.T) {
	long := strings.Repeat("text &amp; é 漢 ", 5000)
	for name, c := range map[string]struct{ doc, label, why string }{
		"small":                {"<a/>", "", ""},
		"everything":           {"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!-- c --><?pi x?><a b='>' c=\"'\"><![CDATA[<&]]]]><d xmlns='u'/>&lt;&#233;</a>\n<!---->", "", ""},
		"bom":                  {"\xEF\xBB\xBF<?xml version='1.0'?><a/>", "", ""},
		"utf-16 be":            {utf16Of("<?xml version='1.0' encoding='utf-16'?><a>é</a>", true), "", ""},
		"utf-16 le":            {utf16Of("<?xml version='1.0' encoding='utf-16'?><a>é</a>", false), "utf-16", ""},
		"utf-16 half":          {utf16Of("<a>é</a>", false)[:8] + "\x00\xD8" + utf16Of("<a>é</a>", false)[8:], "", "not in the charset"},
		"latin1":               {"<?xml version='1.0' encoding='ISO-8859-1'?><a>\xe9</a>", "", ""},
		"latin1 outside":       {"<a>\xe9</a>", "iso-8859-1", ""},
		"ascii":                {"<?xml version='1.0' encoding='us-ascii'?><a>\xe9</a>", "", "not in US-ASCII"},
		"long text":            {"<a>" + long + "</a>", "", ""},
		"long cdata":           {"<a><![CDATA[" + long + "]]></a>", "", ""},
		"long comment":         {"<!--" + long + "--><a/>", "", ""},
		"long hyphens":         {"<a>" + strings.Repeat("- ]] > ", 20_000) + "</a>", "", ""},
		"empty":                {"", "", "no element"},
		"text":                 {"hello", "", "text outside"},
		"unclosed":             {"<a>", "", "is not closed"},
		"wrong end":            {"<a></b>", "", "closed by"},
		"two roots":            {"<a/><b/>", "", "second root"},
		"text behind":          {"<a/>x", "", "outside of the root"},
		"doctype":              {"<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>", "", "document type declaration"},
		"entity":               {"<a>&x;</a>", "", "entity"},
		"entity unended":       {"<a>&" + strings.Repeat("x", 200_000) + "</a>", "", "more than 4096 octets"},
		"attribute twice":      {"<a b='1' b='2'/>", "", "is specified twice"},
		"no quotes":            {"<a b=1/>", "", "value in quotes"},
		"invalid utf-8":        {"<a>\xff</a>", "", "UTF-8"},
		"control":              {"<a>\x01</a>", "", "illegal character"},
		"cdata end":            {"<a>]]></a>", "", "]]>"},
		"cdata end after text": {"<a>" + strings.Repeat("x", 16<<10-2) + "]]></a>", "", "]]>"},
		"comment hyphens":      {"<a><!-- -- --></a>", "", "--"},
		"declaration late":     {" <?xml version='1.0'?><a/>", "", "not at the start"},
		"declaration twice":    {"<?xml version='1.0'?><?xml version='1.0'?><a/>", "", "not at the start"},
		"version":              {"<?xml version='2.0'?><a/>", "", "version"},
		"unknown charset":      {"<?xml version='1.0' encoding='x-none'?><a/>", "", "charset x-none is unknown"},
		"charsets differ":      {"<?xml version='1.0' encoding='iso-8859-1'?><a/>", "utf-8", "is in utf-8"},
		"no utf-16":            {"<?xml version='1.0' encoding='utf-16'?><a/>", "", "not in UTF-16"},
		"utf-16 unsaid":        {utf16Of("<a/>", true), "utf-8", "UTF-16"},
		"deep":                 {strings.Repeat("<a>", 300), "", "nested"},
		"long attribute":       {"<a b='" + strings.Repeat("x", 200_000) + "'/>", "", ""},
		"long name":            {"<a" + strings.Repeat("x", 200_000) + "/>", "", "more than 4096 octets"},
		"long names":           {"<a " + attributes(20_000) + "/>", "", "more than 131072 octets"},
		"brackets":             {"<a>" + strings.Repeat("]", 100_000) + "</a>", "", ""},
	} {
		err := wellFormed(strings.NewReader(c.doc), c.label)
		bad, _ := errors.AsType[*notXML](err)
		switch {
		case c.why == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.why != "" && (bad == nil || !strings.Contains(bad.why, c.why)):
			t.Errorf("%s: %v, want %s", name, err, c.why)
		}
	}
}

// A disk that fails is not the document's fault.
func TestWellFormedUnread(t *testing.T) {
	broken := errors.New("broken disk")
	for _, text := range []string{"", "<a>", "<a", utf16Of("<a>", true), "<?xml version='1.0' encoding='iso-8859-1'?>"} {
		for _, pad := range []string{"", strings.Repeat(" ", 2000)} {
			err := wellFormed(io.MultiReader(strings.NewReader(text+pad), failing{broken}), "")
			if _, bad := errors.AsType[*notXML](err); bad || !errors.Is(err, broken) {
				t.Errorf("%q: %v", text, err)
			}
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// filler is n times the text.
type filler struct {
	text string
	left int
	at   int
}

func (f *filler) Read(p []byte) (n int, err error) {
	if f.left == 0 {
		return 0, io.EOF
	}
	for n < len(p) && f.left > 0 {
		m := copy(p[n:], f.text[f.at:])
		if f.at += m; f.at == len(f.text) {
			f.at, f.left = 0, f.left-1
		}
		n += m
	}
	return n, nil
}

// Whatever is long in a document costs no memory.
func TestWellFormedMemory(t *testing.T) {
	size := installed.Rounds(4, 1) << 19
	for _, c := range []struct{ head, text, tail string }{
		{"<a>", "0123456789abcde\n", "</a>"},
		{"<a><![CDATA[", "0123456789abcde\n", "]]></a>"},
		{"<!--", "0123456789abcde\n", "--><a/>"},
		{"<a>", "&lt;", "</a>"},
		{"<a>", "漢", "</a>"},
		{"<a>", "<b>c</b>", "</a>"},
	} {
		in := &inUse{r: io.MultiReader(strings.NewReader(c.head), &filler{text: c.text, left: size / len(c.text)}, strings.NewReader(c.tail))}
		if err := wellFormed(in, ""); err != nil {
			t.Errorf("%s: %v", c.head, err)
		}
		if in.most > in.first+256<<10 {
			t.Errorf("%s%s: %d octets in use, %d at first", c.head, c.text, in.most, in.first)
		}
	}
}

// inUse says how much memory is in use while it is read.
type inUse struct {
	r           io.Reader
	n           int
	first, most uint64
}

func (u *inUse) Read(p []byte) (int, error) {
	if u.n++; u.n%64 == 1 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		if u.first == 0 {
			u.first = m.HeapAlloc
		}
		u.most = max(u.most, m.HeapAlloc)
	}
	return u.r.Read(p)
}

// How the document comes does not matter.
func FuzzXML(f *testing.F) {
	for _, s := range []string{"<a/>", "<?xml version='1.0' encoding='iso-8859-1'?><a b='c' d=\"e\">&lt;<![CDATA[]]]]><!-- x --></a>", "<!DOCTYPE a><a/>", "<a>]]></a>", utf16Of("<a/>", true)} {
		f.Add([]byte(s), "")
	}
	f.Fuzz(func(t *testing.T, doc []byte, label string) {
		err := wellFormed(bytes.NewReader(doc), label)
		if _, ok := errors.AsType[*notXML](err); err != nil && !ok {
			t.Fatal(err)
		}
		slow := wellFormed(&oneByOne{bytes.NewReader(doc)}, label)
		if (slow == nil) != (err == nil) {
			t.Fatal(err, slow)
		}
		// Whatever passes here passes encoding/xml, which takes more.
		if err == nil && utf8.Valid(doc) {
			d := xml.NewDecoder(bytes.NewReader(doc))
			d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
			for {
				if _, err := d.Token(); errors.Is(err, io.EOF) {
					break
				} else if err != nil && !narrower(err) {
					t.Fatal(err)
				} else if err != nil {
					break
				}
			}
		}
	})
}

// narrower tells whether encoding/xml only refuses what the fifth edition of XML 1.0 allows.
func narrower(err error) bool {
	for _, text := range []string{"unsupported version", "invalid XML name", "expected attribute name", "expected element name", "expected target name", "invalid character entity", "unexpected EOF"} {
		if strings.Contains(err.Error(), text) {
			return true
		}
	}
	return false
}

// attributes are so many different ones.
func attributes(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "attribute%d='' ", i)
	}
	return b.String()
}

type oneByOne struct{ r io.Reader }

func (o *oneByOne) Read(p []byte) (int, error) { return o.r.Read(p[:min(1, len(p))]) }

func BenchmarkXML(b *testing.B) {
	var doc strings.Builder
	doc.WriteString("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<declarations>")
	for doc.Len() < 1<<20 {
		doc.WriteString("\n\t<declaration id=\"1234\"><vat>1234.56</vat><name>A business &amp; sons</name></declaration>")
	}
	doc.WriteString("</declarations>")
	b.SetBytes(int64(doc.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if err := wellFormed(strings.NewReader(doc.String()), ""); err != nil {
			b.Fatal(err)
		}
	}
}
