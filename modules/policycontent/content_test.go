package policycontent

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
)

// policy is what a block of the Caddyfile makes.
func policy(t testing.TB, block string) *Content {
	t.Helper()
	c := new(Content)
	if err := c.UnmarshalCaddyfile(caddyfile.NewTestDispenser("content " + block)); err != nil {
		t.Fatal(err)
	}
	ctx := msatest.Context(t)
	if err := errors.Join(c.Provision(ctx), c.Validate()); err != nil {
		t.Fatal(err)
	}
	return c
}

func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

// part is a part of a multipart/mixed.
type part struct{ header, body string }

// mixed is a message of parts; header lines end in a newline.
func mixed(header string, parts ...part) string {
	var b strings.Builder
	b.WriteString("From: alice@example.org\n" + header + "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"=_b\"\n\n")
	for _, p := range parts {
		b.WriteString("--=_b\n" + p.header + "\n" + p.body + "\n")
	}
	b.WriteString("--=_b--\n")
	return crlf(b.String())
}

func attached(name, octets string) part {
	return part{"Content-Type: application/octet-stream\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=\"" + name + "\"\n",
		base64.StdEncoding.EncodeToString([]byte(octets))}
}

var (
	text = part{"Content-Type: text/plain\n", "Hello."}
	doc  = part{"Content-Type: application/xml; name=d.xml\n", "<a/>"}
)

const (
	plain     = "From: alice@example.org\r\nSubject: x\r\n\r\nHello.\r\n"
	malformed = "554 5.6.0"
	forbidden = "554 5.7.1"
)

// judge gives the reply as the client hears it but for the policy's name; empty: taken.
func judge(t testing.TB, c *Content, octets string) string {
	t.Helper()
	err := c.CheckMessage(context.Background(), msatest.NewSubmission("alice@example.org", ""), msatest.NewMessage(octets))
	if err == nil {
		return ""
	}
	r, ok := errors.AsType[*caddymsa.Refusal](err)
	if !ok {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d %d.%d.%d %s (%s)", r.Code, r.Status[0], r.Status[1], r.Status[2], r.Text, r.Rule)
}

// Every rule, and what the client hears of it.
func TestRules(t *testing.T) {
	many := mixed("", make([]part, 20)...)
	for _, c := range []struct{ name, block, octets, want string }{
		{"no rules", "", plain, ""},
		{"no rules, parts", "", mixed("", text, doc), ""},

		{"required", "{\nrequire_headers From Subject\n}", plain, ""},
		{"required, missing", "flow {\nrequire_headers From X-Reference\n}", plain, malformed + " Header field X-Reference is missing or empty (flow/header X-Reference)"},
		{"required, empty", "{\nrequire_headers Subject\n}", "Subject: \r\n\r\n", malformed + " Header field Subject is missing or empty (header Subject)"},
		{"forbidden header", "{\nforbid_headers Bcc X-*\n}", "x-mine: 1\r\n\r\n", forbidden + " Header field x-mine is not allowed (forbid_headers)"},
		{"forbidden header is not there", "{\nforbid_headers Bcc X-*\n}", plain, ""},
		{"allowed headers", "{\nallow_headers From\nrequire_headers Subject\n}", plain, ""},
		{"header not allowed", "{\nallow_headers From\n}", plain, forbidden + " Header field Subject is not allowed (allow_headers)"},
		{"header of a rule is allowed", "{\nallow_headers From\nheader Subject {\nmax_count 1\n}\n}", plain, ""},
		{"count", "{\nheader Subject {\nmax_count 1\n}\n}", "Subject: a\r\nsubject: b\r\n\r\n", malformed + " Header field Subject appears 2 times, 1 allowed (header Subject)"},
		{"length", "{\nheader Subject {\nmax_length 5\n}\n}", "Subject: abc\r\n def\r\n\r\n", malformed + " Header field Subject has 7 characters, 5 allowed (header Subject)"},
		{"match", "{\nheader Subject {\nmatch `[a-z]+ é`\n}\n}", "Subject: abc =?utf-8?q?=C3=A9?=\r\n\r\n", ""},
		{"match is of all", "{\nheader Subject {\nmatch a|b\n}\n}", "Subject: ab\r\n\r\n", malformed + " Header field Subject does not have the form that this message flow asks for: ab (header Subject)"},

		{"parts", "{\nparts {\napplication/xml 1\ntext/plain 0-1\n}\n}", mixed("", text, doc), ""},
		{"parts, one", "{\nparts {\napplication/xml\ntext/plain 0-1\n}\n}", mixed("", doc), ""},
		{"parts, alone", "{\nparts {\napplication/xml 1\n}\n}", "MIME-Version: 1.0\r\nContent-Type: Application/XML\r\n\r\n<a/>", ""},
		{"parts, none", "declaration {\nparts {\napplication/xml 1\ntext/plain 0-1\n}\n}", plain, malformed + " No application/xml part: exactly 1 required (declaration/parts)"},
		{"parts, two", "{\nparts {\napplication/xml 1\n}\n}", mixed("", doc, doc), malformed + " 2 parts application/xml: exactly 1 required (parts)"},
		{"parts, other", "{\nparts {\napplication/xml 1\n}\n}", mixed("", text, doc), malformed + " Part 1.1, text/plain, has no place in this message flow (parts)"},
		{"parts, range", "{\nparts {\n*/* 2-3\n}\n}", mixed("", text), malformed + " 1 parts */*: 2 to 3 allowed (parts)"},
		{"parts, open", "{\nparts {\ntext/* 2-\n}\n}", mixed("", text, text, text), ""},
		{"parts, open, few", "{\nparts {\ntext/* 2-\n}\n}", mixed("", text), malformed + " 1 parts text/*: at least 2 required (parts)"},
		{"parts, zero", "{\nparts {\ntext/html 0\n*/* 0-\n}\n}", mixed("", part{"Content-Type: text/html\n", ""}), malformed + " 1 parts text/html: exactly 0 required (parts)"},
		{"parts, embedded", "{\nparts {\nmessage/rfc822 1\n}\n}", mixed("", part{"Content-Type: message/rfc822\n", "MIME-Version: 1.0\nContent-Type: application/xml\n\n<a/>"}), ""},
		{"parts, hidden in a message", "{\nparts {\napplication/xml 1\nmessage/rfc822 0-\n}\n}", mixed("", part{"Content-Type: message/rfc822\n", "MIME-Version: 1.0\nContent-Type: application/xml\n\n<a/>"}),
			malformed + " No application/xml part: exactly 1 required (parts)"},
		{"EDIFACT", "{\nparts {\napplication/EDIFACT\n}\n}", "MIME-Version: 1.0\r\nContent-Type: application/edifact\r\n\r\nUNA", ""},

		{"media type forbidden", "{\nmedia_types forbid image/*\n}", mixed("", text, part{"Content-Type: image/PNG\n", ""}), forbidden + " Part 1.2, image/png, has a media type that is not allowed (media_types)"},
		{"media type allowed", "{\nmedia_types allow text/* application/xml\n}", mixed("", text, doc), ""},
		{"media type not allowed", "{\nmedia_types allow text/*\n}", mixed("", text, doc), forbidden + " Part 1.2, application/xml, has a media type that is not allowed (media_types)"},
		{"multipart not allowed", "{\nmedia_types allow text/* multipart/alternative\n}", mixed("", text), forbidden + " The message, multipart/mixed, has a media type that is not allowed (media_types)"},
		{"media type in a message", "{\nmedia_types forbid application/xml\n}", mixed("", part{"Content-Type: message/rfc822\n", "MIME-Version: 1.0\nContent-Type: application/xml\n\n<a/>"}), forbidden + " Part 1.1.1, application/xml, has a media type that is not allowed (media_types)"},
		{"partial", "", "MIME-Version: 1.0\r\nContent-Type: message/partial; id=x; number=1\r\n\r\n", forbidden + " The message, message/partial, is not all there (complete)"},
		{"partial allowed", "{\nmedia_types allow message/partial\n}", "MIME-Version: 1.0\r\nContent-Type: message/partial; id=x; number=1\r\n\r\n", ""},

		{"file name forbidden", "{\nfile_names forbid *.exe\n}", mixed("", attached("A.EXE", "x")), forbidden + " Part 1.1, application/octet-stream, has a file name that is not allowed: A.EXE (file_names)"},
		{"file name forbidden, dots", "{\nfile_names forbid *.exe\n}", mixed("", attached("a.exe. .", "x")), forbidden + " Part 1.1, application/octet-stream, has a file name that is not allowed: a.exe. . (file_names)"},
		{"file name allowed", "{\nfile_names allow *.xml d?.txt\n}", mixed("", text, doc, attached("/x/d1.TXT", "x")), ""},
		{"file name not allowed", "{\nfile_names allow *.txt\n}", mixed("", doc), forbidden + " Part 1.1, application/xml, has a file name that is not allowed: d.xml (file_names)"},

		{"number of parts", "{\nmax_parts 20\n}", many, malformed + " The message has 21 parts, 20 allowed (max_parts)"},
		{"number of parts, right", "{\nmax_parts 21\n}", many, ""},
		{"depth", "{\nmax_depth 1\n}", mixed("", part{"Content-Type: multipart/mixed; boundary=c\n", "--c\n\n\n--c--"}), malformed + " Parts are nested 2 deep, 1 allowed (max_depth)"},
		{"depth, right", "{\nmax_depth 1\n}", mixed("", text), ""},
		{"parts at all", "", mixed("", make([]part, 1000)...), malformed + " The message has more than 1000 parts (limits)"},
		{"depth at all", "", strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 30), malformed + " The message has more than 20 levels of parts (limits)"},
		{"header at all", "", strings.Repeat("A: b\r\n", 200_000), malformed + " The message's header has more than 1048576 octets or 10000 fields (limits)"},
		{"part's size", "{\nmax_part_size 3\n}", mixed("", attached("a", "1234")), malformed + " Part 1.1, application/octet-stream, has 4 octets, 3 allowed (max_part_size)"},
		{"part's size, right", "{\nmax_part_size 4\n}", mixed("", attached("a", "1234")), ""},

		{"charset", "{\ncharsets utf-8\n}", mixed("", part{"Content-Type: text/plain; charset=UTF-8\n", ""}), ""},
		{"charset, alias", "{\ncharsets us-ascii ISO_8859-1 UTF8 cp932\n}", mixed("", part{"Content-Type: text/plain; charset=ANSI_X3.4-1968\n", ""}, part{"Content-Type: text/plain; charset=latin1\n", ""}, part{"Content-Type: text/plain; charset=csUTF8\n", ""}, part{"Content-Type: text/plain; charset=csWindows31J\n", ""}), ""},
		{"charset, none", "{\ncharsets utf-8\n}", mixed("", text), malformed + " Part 1.1, text/plain, is in charset us-ascii; allowed: utf-8 (charsets)"},
		{"charset, other", "{\ncharsets utf-8 US-ASCII\n}", mixed("", text, part{"Content-Type: application/xml; charset=utf-7\n", ""}), malformed + " Part 1.2, application/xml, is in charset utf-7; allowed: utf-8, US-ASCII (charsets)"},
		{"transfer encoding", "{\ntransfer_encodings 7bit base64\n}", mixed("", text, attached("a", "x")), ""},
		{"transfer encoding, other", "{\ntransfer_encodings 7bit\n}", mixed("", text, attached("a", "x")), malformed + " Part 1.2, application/octet-stream, is encoded as base64; allowed: 7bit (transfer_encodings)"},

		{"XML", "{\nwell_formed_xml\n}", mixed("", text, doc, part{"Content-Type: image/svg+xml\n", "<?xml version='1.0'?><svg/>"}), ""},
		{"XML, not", "{\nwell_formed_xml\n}", mixed("", text, part{"Content-Type: application/xml\n", "<a>\n</b>"}), malformed + " Part 1.2, application/xml, is not well-formed XML: line 2: element <a> closed by </b> (well_formed_xml)"},
		{"XML, charset", "{\nwell_formed_xml text/xml\n}", mixed("", part{"Content-Type: text/xml; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n", "<a>=E9</a>"}), ""},
		{"XML, doctype", "{\nwell_formed_xml\n}", mixed("", part{"Content-Type: application/xml\n", "<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>"}), malformed + " Part 1.1, application/xml, is not well-formed XML: line 1: a document type declaration is not allowed (well_formed_xml)"},

		{"defect", "", mixed("", part{"No field\n", ""}), malformed + " Part 1.1, text/plain, is malformed: bad_header (defects)"},
		{"defects", "", "Content-Type: a/b\r\nContent-type: c/d\r\n\r\n", malformed + " The message, a/b, is malformed: duplicate_field, no_version (defects)"},
		{"defect allowed", "{\ndefects allow bad_header\n}", mixed("", part{"No field\n", ""}), ""},
		{"all defects allowed", "{\ndefects allow *\n}", "Content-Type: a/b\r\nContent-type: c/d\r\n\r\n", ""},

		{"signed", "{\nsmime signed\n}", signed, ""},
		{"signed, not", "{\nsmime signed encrypted\n}", plain, forbidden + " The message is not S/MIME signed or encrypted (smime)"},
		{"signed, by PGP", "{\nsmime signed\n}", strings.ReplaceAll(signed, "pkcs7", "pgp"), forbidden + " The message is not S/MIME signed (smime)"},
		{"signed, opaque", "{\nsmime signed\n}", "MIME-Version: 1.0\r\nContent-Type: application/x-pkcs7-mime; smime-type=Signed-Data\r\n\r\n", ""},
		{"encrypted", "{\nsmime encrypted\n}", "MIME-Version: 1.0\r\nContent-Type: application/pkcs7-mime; smime-type=authEnveloped-data\r\n\r\n", ""},
		{"encrypted, signed", "{\nsmime encrypted\n}", signed, forbidden + " The message is not S/MIME encrypted (smime)"},
		{"encrypted, unsaid", "{\nsmime encrypted\n}", "MIME-Version: 1.0\r\nContent-Type: application/pkcs7-mime\r\n\r\n", forbidden + " The message is not S/MIME encrypted (smime)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := judge(t, policy(t, c.block), c.octets); got != c.want {
				t.Errorf("%q, want\n%q", got, c.want)
			}
		})
	}
}

var signed = crlf(`MIME-Version: 1.0
Content-Type: multipart/signed; protocol="application/pkcs7-signature"; micalg=sha-256; boundary=b

--b

text
--b
Content-Type: application/pkcs7-signature; name=smime.p7s
Content-Transfer-Encoding: base64

MAA=
--b--
`)

// Settings that cannot be.
func TestBadSettings(t *testing.T) {
	for block, want := range map[string]string{
		"a b":                            `unexpected "b"`,
		"{\nrequire_header From\n}":      "unknown setting",
		"{\nheader A B {\n}\n}":          `unexpected "B"`,
		"{\nheader A {\nmin 1\n}\n}":     "unknown setting",
		"{\nheader A {\nmatch\n}\n}":     "match takes one value",
		"{\nheader A {\nmatch (\n}\n}":   "header A: match",
		"{\nforbid_headers X-A:\n}":      `forbid_headers: "X-A:": leave the colon out`,
		"{\nforbid_headers \"X Y\"\n}":   `"X Y" is not the name of a header field`,
		"{\nallow_headers \"\"\n}":       `allow_headers: a value is empty`,
		"{\nallow_headers a:b\n}":        `"a:b" is not the name`,
		"{\nrequire_headers Subject:\n}": "require_headers: \"Subject:\": leave the colon out",
		"{\nrequire_headers X-*\n}":      `"X-*" is a pattern`,
		"{\nheader Sübject {\n}\n}":      `header: "Sübject" is not the name`,
		"{\nheader * {\n}\n}":            "is a pattern",
		"{\ncharsets utf-8 banana\n}":    `charsets: "banana" is not a charset`,
		"{\nparts x\n}":                  `unexpected "x"`,
		"{\nparts {\nxml\n}\n}":          "is not a media type",
		"{\nparts {\na/b 2-1\n}\n}":      "is not a count",
		"{\nparts {\na/b many\n}\n}":     "is not a count",
		"{\nparts {\na/b -1\n}\n}":       "is not a count",
		"{\nmedia_types deny a/b\n}":     "allow or forbid",
		"{\nmedia_types allow image\n}":  "is not a media type",
		"{\nfile_names forbid\n}":        "file_names forbid takes one or more values",
		"{\narchived_names forbid a\n}":  "takes allow",
		"{\nmax_parts 0\n}":              "is not a whole number above 0",
		"{\nmax_parts 1001\n}":           "give 1 to 1000",
		"{\nmax_depth 21\n}":             "give 1 to 20",
		"{\nmax_part_size much\n}":       "is not a size",
		"{\nsmime both\n}":               "there are signed, encrypted",
		"{\ntransfer_encodings x\n}":     "there are 7bit",
		"{\ndefects allow none\n}":       "there are duplicate_field",
		"{\ncharsets\n}":                 "charsets takes one or more values",
		"{\nmax_parts 2\nmax_parts 3\n}": "max_parts",
	} {
		c := new(Content)
		err := c.UnmarshalCaddyfile(caddyfile.NewTestDispenser("content " + block))
		if err == nil {
			err = c.Provision(msatest.Context(t))
		}
		if err == nil {
			err = c.Validate()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", block, err, want)
		}
	}
}

// Messages that are not read as such by all are refused or taken, and cost nothing.
func TestConformance(t *testing.T) {
	msatest.Policy(t, func(t testing.TB) any {
		return policy(t, "flow {\nrequire_headers From\nparts {\n*/* 0-\n}\nfile_names forbid *.exe\nwell_formed_xml\nmax_depth 5\n}")
	},
		msatest.PolicyCase{Name: "taken"},
		msatest.PolicyCase{Name: "XML", Message: mixed("", doc)},
		msatest.PolicyCase{Name: "no From", Message: "Subject: x\r\n\r\n", Code: 554, Status: smtp.EnhancedCode{5, 6, 0}, Rule: "flow/header From"},
		msatest.PolicyCase{Name: "exe", Message: mixed("", attached("a.exe", "")), Code: 554, Status: smtp.EnhancedCode{5, 7, 1}, Rule: "flow/file_names"},
		msatest.PolicyCase{Name: "in a zip", Message: mixed("", attached("a.zip", zipOf(t, "a.exe"))), Code: 554, Status: smtp.EnhancedCode{5, 7, 1}, Rule: "flow/file_names"},
	)
}

// With every rule there is, and defects allowed so that all of them are asked.
func TestWorstMessages(t *testing.T) {
	msatest.TestWorstMessages(t, policy(t, `flow {
		require_headers From X-Last
	}`))
	msatest.TestWorstMessages(t, policy(t, `flow {
		require_headers From
		forbid_headers  X-Internal-* *-Secret *a*b*c*d*e*
		allow_headers   *
		header Subject {
			max_length 2000000
			match      "(.*a.*b)*|.*"
		}
		header To {
			match "(a|b|c)*.*"
		}
		parts {
			text/* 0-
			*/*    0-
		}
		media_types        forbid image/* *x*/*y*z*
		file_names         forbid *.exe *a*a*a*a*b
		archived_names     allow  *
		max_part_size      10MiB
		charsets           utf-8 us-ascii iso-8859-1
		transfer_encodings 7bit 8bit binary base64 quoted-printable
		well_formed_xml
		defects            allow *
	}`))
}

// A disk that fails while parts are read is not the client's fault.
func TestBrokenDisk(t *testing.T) {
	octets := mixed("", text, doc, attached("a.zip", zipOf(t, "a.txt", "b.txt")))
	c := policy(t, "{\nfile_names forbid *.exe\nwell_formed_xml\n}")
	broken := errors.New("broken disk")
	for n := range len(octets) {
		opened := 0
		m := caddymsa.NewMessage(int64(len(octets)), func() (io.ReadCloser, error) {
			if opened++; opened < 3 { // the header, the structure
				return io.NopCloser(strings.NewReader(octets)), nil
			}
			return io.NopCloser(io.MultiReader(strings.NewReader(octets[:n]), failing{broken})), nil
		})
		if err := c.CheckMessage(context.Background(), nil, m); !errors.Is(err, broken) {
			t.Fatalf("%d: %v", n, err)
		}
	}
}

func zipOf(t testing.TB, names ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, name := range names {
		f, err := w.CreateHeader(&zip.FileHeader{Name: name}) // stored, as deflating so many takes long
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(f, "content of "+name); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// What it costs to hold one message to a whole flow.
func BenchmarkContent(b *testing.B) {
	c := policy(b, "flow {\nrequire_headers From Subject\nheader Subject {\nmax_count 1\nmatch `[A-Z0-9-]+`\n}\nparts {\napplication/xml 1\ntext/plain 0-1\n}\nmax_parts 5\ntransfer_encodings 7bit base64\nwell_formed_xml\nfile_names forbid *.exe\n}")
	for name, n := range map[string]int{"4KiB": 3 << 10, "20MiB": 20 << 20} {
		doc := "<r>" + strings.Repeat("<declaration id=\"1\">1234.56</declaration>\n", n/4*3/42) + "</r>"
		xml := part{"Content-Type: application/xml\nContent-Transfer-Encoding: base64\n", lines(base64.StdEncoding.EncodeToString([]byte(doc)))}
		octets := mixed("Subject: A-1\n", text, xml)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(octets)))
			b.ReportAllocs()
			for b.Loop() {
				if got := judge(b, c, octets); got != "" {
					b.Fatal(got)
				}
			}
		})
	}
}

// lines breaks a text into lines of 76.
func lines(s string) string {
	var b strings.Builder
	for len(s) > 76 {
		b.WriteString(s[:76] + "\n")
		s = s[76:]
	}
	return b.String() + s
}

func ofOctets(octets string) *caddymsa.Message { return msatest.NewMessage(octets) }

// A message of 50 MiB (outside CI 8) costs no more memory than a small one, even when it has to be kept aside.
func TestLargeMessage(t *testing.T) {
	c := policy(t, "{\nrequire_headers From\nparts {\n*/* 1-\n}\nfile_names forbid *.exe\n}")
	head, end, _ := strings.Cut(mixed("", part{"Content-Type: a/b\nContent-Transfer-Encoding: base64\n", "UEsDBAAA\n~~~"}), "~~~")
	line := strings.Repeat("QUJD", 19) + "\r\n"
	size := installed.Rounds(50, 8) << 20
	n := size / len(line)
	var in *inUse
	m := caddymsa.NewMessage(int64(size), func() (io.ReadCloser, error) {
		r := &inUse{r: io.MultiReader(strings.NewReader(head), &filler{text: line, left: n}, strings.NewReader(end))}
		if in != nil {
			r.first, r.most = in.first, in.most
		}
		in = r
		return io.NopCloser(r), nil
	})
	want := forbidden + " Part 1.1, a/b, is an archive that cannot be listed: it has no directory (archives)"
	err := c.CheckMessage(context.Background(), nil, m)
	if r, ok := errors.AsType[*caddymsa.Refusal](err); !ok || forbidden+" "+r.Text+" ("+r.Rule+")" != want {
		t.Error(err)
	}
	if in.most > in.first+1<<20 {
		t.Errorf("%d octets in use, %d at first", in.most, in.first)
	}
}
