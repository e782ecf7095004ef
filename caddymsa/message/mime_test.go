package message

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa"
)

// crlf writes a message with CRLF for each line end.
func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

const mixed = `MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=outer

preamble
--outer
Content-Type: multipart/alternative; boundary="inner one"

--inner one

plain
--inner one
Content-Type: TEXT/HTML; charset=UTF-8
Content-Transfer-Encoding: Quoted-Printable

caf=C3=A9 =
au lait  
--inner one--
--outer
Content-Type: application/xml; name="a.xml"
Content-Transfer-Encoding: base64
Content-Disposition: Attachment; filename="a.xml"

PGE+
PC9hPg==
--outer
Content-Type: message/rfc822

Subject: embedded

text
--outer--
`

// read walks a message and returns the bodies by path.
func read(t testing.TB, raw string) (*Structure, map[string]string) {
	t.Helper()
	bodies := make(map[string]string)
	s, err := Walk(context.Background(), of(raw), Limits{}, func(p *Part, body io.Reader) error {
		b, err := io.ReadAll(body)
		bodies[p.Path] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, bodies
}

// outline is the tree in one line.
func outline(s *Structure) string {
	var b strings.Builder
	for _, p := range s.Parts {
		fmt.Fprintf(&b, "%s %s %d/%d;", p.Path, p.Type, p.Size, p.DecodedSize)
	}
	return b.String()
}

func names(d Defects) string { return strings.Join(slices.Collect(d.Names()), " ") }

//
func TestParts(t *testing.T) {
	s, bodies := read(t, crlf(mixed))
	want := "1 multipart/mixed 0/0;1.1 multipart/alternative 0/0;1.1.1 text/plain 5/5;1.1.2 text/html 22/13;1.2 application/xml 14/7;1.3 message/rfc822 0/0;1.3.1 text/plain 4/4;"
	if got := outline(s); got != want {
		t.Errorf("\n%s\n%s", got, want)
	}
	for path, want := range map[string]string{"1.1.1": "plain", "1.1.2": "café au lait", "1.2": "<a></a>", "1.3.1": "text"} {
		if bodies[path] != want {
			t.Errorf("%s: %q, want %q", path, bodies[path], want)
		}
	}
	if s.Defects != 0 || s.MaxDepth != 2 {
		t.Errorf("defects %s, depth %d", names(s.Defects), s.MaxDepth)
	}
	html, xml := s.Parts[3], s.Parts[4]
	if html.Charset != "utf-8" || html.Encoding != "quoted-printable" || s.Parts[2].Charset != "us-ascii" || s.Parts[2].Encoding != "7bit" {
		t.Errorf("%+v", html)
	}
	if xml.FileName != "a.xml" || len(xml.FileNames) != 1 || xml.Disposition != "attachment" || xml.Parent != 0 || s.Parts[6].Parent != 5 {
		t.Errorf("%+v", xml)
	}
}

func TestPartsEdges(t *testing.T) {
	const head = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n\n"
	for raw, want := range map[string]string{
		"":         "1 text/plain 0/0;bad_header",
		"\n":       "1 text/plain 0/0;",
		"\nbody\n": "1 text/plain 6/6;",
		"\nbody":   "1 text/plain 4/4;",
		"A: b":     "1 text/plain 0/0;",
		"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary*=utf-8''x\n\n--x\n\na\n--x--": "1 multipart/mixed 0/0;1.1 text/plain 1/1;bad_type",
		"A: b\nno field\n":                                            "1 text/plain 0/0;bad_header",
		"A: b\n\n\n\nx\n":                                             "1 text/plain 7/7;",
		head + "--x\n\n\n\n--x--":                                     "1 multipart/mixed 0/0;1.1 text/plain 2/2;",
		head + "--x\n\na\n--x--\n":                                    "1 multipart/mixed 0/0;1.1 text/plain 1/1;",
		head + "--x  \n\na\n--x--\t\n":                                "1 multipart/mixed 0/0;1.1 text/plain 1/1;",
		head + "--x\n\n--x--\n":                                       "1 multipart/mixed 0/0;1.1 text/plain 0/0;",
		head + "--x\n--x--\n":                                         "1 multipart/mixed 0/0;1.1 text/plain 0/0;bad_header",
		head + "--x\n\na":                                             "1 multipart/mixed 0/0;1.1 text/plain 1/1;unclosed",
		head + "--x\n\na\n":                                           "1 multipart/mixed 0/0;1.1 text/plain 3/3;unclosed",
		head + "text\n":                                               "1 multipart/mixed 0/0;no_parts",
		head + "--x--\n":                                              "1 multipart/mixed 0/0;no_parts",
		head + "--x\n\na\n--xy\n--x--\n":                              "1 multipart/mixed 0/0;1.1 text/plain 7/7;bad_boundary",
		head + "--x\n\na\n--x--\nmore\n":                              "1 multipart/mixed 0/0;1.1 text/plain 1/1;after_end",
		head + "--x\n\na\n--x--\n--x\n\nb\n--x--\n":                   "1 multipart/mixed 0/0;1.1 text/plain 1/1;after_end",
		head + "--x\nno field\n\na\n--x--\n":                          "1 multipart/mixed 0/0;1.1 text/plain 1/1;bad_header",
		head + "--x\nContent-Type : a/b\n\na\n--x--\n":                "1 multipart/mixed 0/0;1.1 a/b 1/1;bad_header",
		head + "--x\nA: b\n \nContent-Type: a/b\n\n--x--":             "1 multipart/mixed 0/0;1.1 a/b 0/0;bad_header",
		head + "--x\n Content-Type: a/b\n\n--x--":                     "1 multipart/mixed 0/0;1.1 text/plain 0/0;bad_header",
		"Content-Type: a/b\n\n":                                       "1 a/b 0/0;no_version",
		"MIME-Version: 1.0 (x)\nContent-Type: a/b\n\n":                "1 a/b 0/0;",
		"MIME-Version: 1.0\nContent-Type: a/b; c=1; c=2\n\n":          "1 application/octet-stream 0/0;bad_type",
		"MIME-Version: 1.0\nContent-Type: text\n\n":                   "1 application/octet-stream 0/0;bad_type",
		"MIME-Version: 1.0\nContent-Type: a/b; c=\n\n":                "1 a/b 0/0;bad_type",
		"MIME-Version: 1.0\nContent-Type: a/b\nContent-type: c/d\n\n": "1 a/b 0/0;duplicate_field",
		"MIME-Version: 1.0\nContent-Type: multipart/mixed\n\n--\n":    "1 multipart/mixed 4/4;bad_boundary",
		"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"x \"\n\n--x \n\n--x --":                                "1 multipart/mixed 0/0;1.1 text/plain 0/0;bad_boundary",
		"MIME-Version: 1.0\nContent-Transfer-Encoding: x-uuencode\n\na":                                                      "1 text/plain 1/1;unknown_encoding",
		"MIME-Version: 1.0\nContent-Transfer-Encoding: base64\nContent-Type: message/rfc822\n\nYQ==":                         "1 message/rfc822 4/1;encoded_container",
		"MIME-Version: 1.0\nContent-Transfer-Encoding: base64\nContent-Type: multipart/mixed; boundary=x\n\n--x\n\na\n--x--": "1 multipart/mixed 0/0;1.1 text/plain 1/1;encoded_container",
		"MIME-Version: 1.0\nContent-Type: message/news\n\nContent-Type: text/html\n\nbody":                                   "1 message/news 0/0;1.1 text/html 4/4;no_version",
		"MIME-Version: 1.0\nContent-Type: message/rfc822\n\n\nbody":                                                          "1 message/rfc822 0/0;1.1 text/plain 4/4;",
		"MIME-Version: 1.0\nContent-Type: message/rfc822\n\n":                                                                "1 message/rfc822 0/0;1.1 text/plain 0/0;bad_header",
		"MIME-Version: 1.0\nContent-Disposition: ;\n\n":                                                                      "1 text/plain 0/0;bad_disposition",
		"MIME-Version: 1.0\nContent-Type: multipart/digest; boundary=x\n\n--x\n\nA: b\n\nc\n--x--":                           "1 multipart/digest 0/0;1.1 message/rfc822 0/0;1.1.1 text/plain 1/1;",
		"\ncaf\xc3\xa9": "1 text/plain 5/5;eight_bit",
		// An inner boundary that is an outer one too ends the outer part.
		head + "--x\nContent-Type: multipart/mixed; boundary=x\n\n--x\n\na\n--x--\n":                          "1 multipart/mixed 0/0;1.1 multipart/mixed 0/0;1.2 text/plain 1/1;bad_boundary no_parts",
		head + "--x\nContent-Type: multipart/mixed; boundary=y\n\n--y\n\na\n--x\n\nb\n--x--\n":                "1 multipart/mixed 0/0;1.1 multipart/mixed 0/0;1.1.1 text/plain 1/1;1.2 text/plain 1/1;unclosed",
		head + "--x\nContent-Type: multipart/mixed; boundary=xy\n\n--xy\n\na\n--xy--\n--x--\n":                "1 multipart/mixed 0/0;1.1 multipart/mixed 0/0;1.1.1 text/plain 1/1;bad_boundary",
		head + "--x" + strings.Repeat(" ", 20_000) + "y\n--x\n\na\n--x--\n":                                   "1 multipart/mixed 0/0;1.1 text/plain 1/1;bad_boundary",
		head + "--x\n\n" + strings.Repeat("z", 40_000) + "--x--\n--x--\n":                                     "1 multipart/mixed 0/0;1.1 text/plain 40005/40005;",
		head + "--x\nContent-Type: message/rfc822\n\nContent-Type: text/html\n\nb\n--x\n\na\n--x--\n":         "1 multipart/mixed 0/0;1.1 message/rfc822 0/0;1.1.1 text/html 1/1;1.2 text/plain 1/1;no_version",
		head + "--x\nContent-Type: message/rfc822\n--x--\n":                                                   "1 multipart/mixed 0/0;1.1 message/rfc822 0/0;bad_header no_parts",
		head + "--x\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; x\n\nAction: failed\n--x--": "1 multipart/mixed 0/0;1.1 message/delivery-status 39/39;",
	} {
		s, err := PartsOf(context.Background(), of(crlf(raw)))
		if err != nil {
			t.Errorf("%.80q: %v", raw, err)
			continue
		}
		if got := outline(s) + names(s.Defects); got != want {
			t.Errorf("%.120q:\n%s, want\n%s", raw, got, want)
		}
	}
}

func TestDecoding(t *testing.T) {
	for _, c := range []struct{ encoding, raw, want, defects string }{
		{"base64", "YWJj\n", "abc", ""},
		{"base64", "YW\nJjZA\n==\n", "abcd", ""},
		{"base64", "YWJjZA==", "abcd", ""},
		{"base64", "YWJjZA", "abcd", "bad_base64"},
		{"base64", "YWJjZB==", "abcd", "bad_base64"},
		{"base64", "YWJjZA=", "abcd", "bad_base64"},
		{"base64", "YW Jj", "abc", "bad_base64"},
		{"base64", "YW\xff!Jj", "abc", "bad_base64"},
		{"base64", "YQ==YQ==", "a", "bad_base64"},
		{"base64", "YQ==\nYQ==\n", "a", "bad_base64"},
		{"base64", "=YWJj", "abc", "bad_base64"},
		{"base64", "YWJjY", "abc", "bad_base64"},
		{"base64", strings.Repeat("YWJj", 10_000), strings.Repeat("abc", 10_000), ""},
		{"quoted-printable", "a=3Db=3db \t\nc= \nd", "a=b=b\r\ncd", ""},
		{"quoted-printable", "a=\n", "a", ""},
		{"quoted-printable", "a=", "a", ""},
		{"quoted-printable", "a=4", "a=4", "bad_quoted_printable"},
		{"quoted-printable", "=zz=4z", "=zz=4z", "bad_quoted_printable"},
		{"quoted-printable", "=  x", "=x", "bad_quoted_printable"},
		{"quoted-printable", "caf\xc3\xa9", "caf\xc3\xa9", "bad_quoted_printable"},
		{"quoted-printable", "==41", "=A", "bad_quoted_printable"},
		{"quoted-printable", strings.Repeat("=41", 10_000), strings.Repeat("A", 10_000), ""},
		{"quoted-printable", "a" + strings.Repeat(" ", 5000) + "b", "a" + strings.Repeat(" ", 5000) + "b", ""},
		{"8bit", "\xff\n\n", "\xff\r\n\r\n", ""},
		{"BINARY", "\xff", "\xff", ""},
	} {
		s, bodies := read(t, "MIME-Version: 1.0\r\nContent-Transfer-Encoding: "+c.encoding+"\r\n\r\n"+crlf(c.raw))
		if bodies["1"] != c.want || names(s.Defects) != c.defects || s.Parts[0].DecodedSize != int64(len(c.want)) || s.Parts[0].Size != int64(len(crlf(c.raw))) {
			t.Errorf("%s %.40q: %.40q %s (%d), want %.40q %s", c.encoding, c.raw, bodies["1"], names(s.Defects), s.Parts[0].DecodedSize, c.want, c.defects)
		}
	}
}

func TestFileNames(t *testing.T) {
	long := strings.Repeat("é", 200)
	for header, want := range map[string]string{
		`Content-Disposition: attachment; filename="a b.pdf"`:                                            "a b.pdf:",
		`Content-Disposition: attachment; filename*=utf-8'nl'caf%C3%A9.pdf`:                              "café.pdf:",
		`Content-Disposition: attachment; filename*=iso-8859-1''caf%E9.pdf`:                              "café.pdf:",
		`Content-Disposition: attachment; filename*0*=utf-8''caf%C3%A9; filename*1=" 2.pdf"`:             "café 2.pdf:",
		`Content-Disposition: attachment; filename*0*=iso-8859-1''caf%E9; filename*1=".pdf"`:             "café.pdf:",
		`Content-Disposition: attachment; filename="a.txt"; filename*=utf-8''a.exe`:                      "a.exe|a.txt:",
		`Content-Disposition: attachment; filename="=?utf-8?b?Y2Fmw6kuZXhl?="`:                           "café.exe:",
		"Content-Type: a/b; name=a.exe\r\nContent-Disposition: attachment; filename=a.txt":               "a.txt|a.exe:",
		`Content-Type: a/b; name="a.exe"`:                                                                "a.exe:",
		`Content-Disposition: attachment; filename*=utf-8''a%00.exe`:                                     "a\uFFFD.exe|a.exe:bad_file_name",
		`Content-Disposition: attachment; filename*=utf-8''txt.%E2%80%AEexe`:                             "txt.\uFFFDexe|txt.exe:bad_file_name",
		`Content-Disposition: attachment; filename*=x-none''a.exe`:                                       "a.exe:bad_file_name",
		`Content-Disposition: attachment; filename="a` + "\xff" + `"`:                                    "a\uFFFD|a:bad_file_name",
		`Content-Disposition: attachment; filename="` + long + `"`:                                       long[:254] + ":bad_file_name",
		`Content-Disposition: attachment; filename=a.txt; filename=b.txt`:                                "a.txt|b.txt:bad_disposition",
		`Content-Disposition: attachment`:                                                                ":",
		`Content-Disposition: attachment; filename=""`:                                                   ":",
		"Content-Disposition: attachment;\r\n filename=folded.txt":                                       "folded.txt:",
		`Content-Disposition: attachment; filename="C:\dir\a.exe"`:                                       `C:\dir\a.exe|C:dira.exe:`,
		`Content-Disposition: attachment; filename="a\"b.txt"`:                                           `a"b.txt:`,
		`Content-Disposition: attachment; filename="a.txt".exe`:                                          `a.txt|a.txt.exe|a.txt".exe|"a.txt".exe:bad_disposition`,
		`Content-Disposition: attachment; filename=a b.exe`:                                              "a b.exe|a:bad_disposition",
		`Content-Disposition: attachment; filename="a.exe`:                                               "a.exe|\"a.exe:bad_disposition",
		`Content-Disposition: attachment (x); filename=a.exe (y)`:                                        "a.exe|a.exe (y):",
		`Content-Disposition: attachment; filename = "a.exe"`:                                            "a.exe:",
		`Content-Disposition: attachment; FileName*0="a."; FILENAME*1="exe"`:                             "a.exe:",
		`Content-Disposition: attachment; filename*1="exe"; filename*0="a."`:                             "a.exe|exea.:",
		`Content-Disposition: attachment; filename*0="a.txt"; filename*2=".exe"`:                         "a.txt|a.txt.exe:bad_file_name",
		"Content-Disposition: attachment; filename=\"a.exe\u00a0\"":                                      "a.exe:",
		`Content-Disposition: attachment; filename='a.exe'`:                                              "a.exe|'a.exe':",
		`Content-Disposition: attachment; filename="a.exe::$DATA"`:                                       "a.exe|a.exe::$DATA:",
		`Content-Disposition: attachment; name="a.exe"`:                                                  "a.exe:",
		"Content-Disposition: attachment; filename=\"" + strings.Repeat("x", 300) + ".exe\"":             strings.Repeat("x", 255) + "|" + strings.Repeat("x", 250) + ".exe:bad_file_name",
		`Content-Disposition: attachment; filename*=utf-16''%61%00%2e%00%65%00%78%00%65%00`:              "a.exe|愀⸀攀砀攀:bad_file_name",
		`Content-Disposition: attachment; filename="=?utf-16?b?YQAuAGUAeABlAA==?="`:                      "愀⸀攀砀攀:bad_file_name",
		`Content-Disposition: attachment; filename="=?utf-8?q?=22a=2Eexe=22?="`:                          "a.exe|\"a.exe\":",
		`Content-Disposition: filename=a.exe`:                                                            "a.exe:bad_disposition",
		`Content-Type: name=a.exe`:                                                                       "a.exe:bad_type",
		`Content-Disposition: attachment; filename*=a.exe`:                                               "a.exe:bad_file_name",
		`Content-Disposition: attachment; filename*=utf-8''a%zz.exe`:                                     "a%zz.exe:bad_file_name",
		`Content-Disposition: attachment; filename*=utf-8''a%C3.exe`:                                     "a\uFFFD.exe|a.exe:bad_file_name",
		`Content-Disposition: attachment; x="y; filename=a.exe"`:                                         "a.exe:",
		`Content-Disposition: attachment; filename="=?utf-8*nl?q?a?= =?utf-8?q?.exe?="`:                  "a.exe:",
		"Content-Disposition: inline; filename=a.txt\r\nContent-Disposition: attachment; filename=a.exe": "a.txt|a.exe:duplicate_field",
	} {
		s, err := PartsOf(context.Background(), of("MIME-Version: 1.0\r\n"+header+"\r\n\r\n"))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(s.Parts[0].FileNames, "|") + ":" + names(s.Defects); got != want {
			t.Errorf("%s: %q, want %q", header, got, want)
		}
	}
}

func TestWalkErrors(t *testing.T) {
	broken := errors.New("broken disk")
	m := caddymsa.NewMessage(1, func() (io.ReadCloser, error) { return nil, broken })
	if _, err := PartsOf(context.Background(), m); !errors.Is(err, broken) {
		t.Error(err)
	}
	for n := range len(mixed) {
		r := io.MultiReader(strings.NewReader(mixed[:n]), failing{broken})
		visit := func(_ *Part, body io.Reader) error { _, _ = io.Copy(io.Discard, body); return nil }
		if _, err := WalkReader(context.Background(), r, Limits{}, visit); !errors.Is(err, broken) {
			t.Fatalf("%d: %v", n, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Walk(ctx, of(mixed), Limits{}, nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := Walk(context.Background(), of(mixed), Limits{}, func(*Part, io.Reader) error { return broken }); !errors.Is(err, broken) {
		t.Error(err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestDefectNames(t *testing.T) {
	all := slices.Collect(allDefects.Names())
	if !slices.Equal(all, DefectNames()) || len(all) != len(defectNames) {
		t.Error(all)
	}
	for i, name := range all {
		if d, ok := ParseDefect(name); !ok || d != 1<<i {
			t.Error(name)
		}
	}
	if _, ok := ParseDefect("none"); ok {
		t.Error("none")
	}
}
