package message

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
)

// Comments are legal wherever RFC 822 has them.
func TestComments(t *testing.T) {
	for header, want := range map[string]string{
		"Content-Type: text/plain; charset=us-ascii (Plain text)":                            "text/plain us-ascii 7bit:",
		"Content-Type: text/plain (a (b) \\) c); charset=\"utf-8\" (d)":                      "text/plain utf-8 7bit:",
		"Content-Type: (a) text/html (b) ; (c) charset (d) = (e) utf-8 (f)":                  "text/html utf-8 7bit:",
		"Content-Type: text (a) / (b) plain (c); charset=utf-8":                              "text/plain utf-8 7bit:",
		"Content-Type: text(a)/(b)html":                                                      "text/html us-ascii 7bit:",
		"Content-Type: text/plain; charset=utf-8; x=\"(no comment)\"":                        "text/plain utf-8 7bit:",
		"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64 (ten)": "text/plain utf-8 base64:",
		"Content-Type: text/plain; charset=utf-8 (":                                          "text/plain us-ascii 7bit:bad_type",
		"Content-Type: multipart/mixed (x); boundary=\"b\" (y)":                              "multipart/mixed  7bit:no_parts",
		"Content-Type: multipart/mixed; boundary=b (y)":                                      "multipart/mixed  7bit:no_parts",
		"Content-Type: multipart/mixed; boundary=(y)b":                                       "multipart/mixed  7bit:no_parts",
	} {
		for _, version := range []string{"1.0", "1.0 (by us)", "(by us) 1.0"} {
			s, err := PartsOf(context.Background(), of("MIME-Version: "+version+"\r\n"+header+"\r\n\r\n"))
			if err != nil {
				t.Fatal(err)
			}
			p := s.Root()
			if got := fmt.Sprintf("%s %s %s:%s", p.Type, p.Charset, p.Encoding, names(s.Defects)); got != want {
				t.Errorf("%s: %s, want %s", header, got, want)
			}
		}
	}
}

// A comment beside a boundary without quotes is a part of it to who does not know comments: only a line that would then be a boundary is
// a defect.
func TestCommentsBesideBoundary(t *testing.T) {
	for header, lines := range map[string]map[string]string{
		"boundary=b (y)":                  {"--b": "", "--b (y)": "bad_boundary", "--bb": "bad_boundary", "--c": ""},
		"boundary=(y)b":                   {"--b": "", "--(y)b": "bad_boundary", "--(y)b--": "bad_boundary", "--(y)": ""},
		"boundary=(y) b; x=y":             {"--b": "", "--(y) b": "bad_boundary"},
		"boundary (y) = \"b\"":            {"--b": ""},
		"boundary=\"b\" (y; boundary=c )": {"--b": "", "--c )": "bad_boundary", "--c": ""},
		"boundary=b (y; boundary=\"c\")":  {"--b": "", "--c": "bad_boundary"},
		"boundary=b (1;boundary=2;boundary=3;boundary=4;boundary=5;boundary=6)": {"--b": "bad_boundary"},
	} {
		for line, want := range lines {
			s, err := PartsOf(context.Background(), of("MIME-Version: 1.0\r\nContent-Type: multipart/mixed; "+header+"\r\n\r\n--b\r\n\r\nx\r\n"+line+"\r\n\r\ny\r\n--b--\r\n"))
			if err != nil {
				t.Fatal(err)
			}
			if got := names(s.Defects); got != want {
				t.Errorf("%s, %s: %q, want %q", header, line, got, want)
			}
		}
	}
}

// pythonNames reads headers in base64, one a line, and prints the file names that Python's email package
// sees, by its old policy and its new one.
const pythonNames = `
import sys, base64, json, email, email.policy
for line in sys.stdin:
    b = base64.b64decode(line); names = []
    for policy in (email.policy.compat32, email.policy.default):
        try:
            m = email.message_from_bytes(b, policy=policy)
            names += [m.get_filename(), m.get_param('name')]
        except Exception: pass
    print(json.dumps([str(n) for n in names if isinstance(n, str)]), flush=True)
`

// perlNames does the same with Email::MIME, and MIME::Tools, which amavis and MailScanner use.
const perlNames = `
use Email::MIME; use MIME::Parser; use MIME::Base64; use JSON::PP; $| = 1; binmode STDOUT, ':utf8';
my $parser = MIME::Parser->new; $parser->output_to_core(1); $parser->tmp_to_core(1);
while (<STDIN>) {
    my $b = decode_base64($_); my @names;
    push @names, eval { Email::MIME->new($b)->filename };
    push @names, eval { $parser->parse_data($b)->head->recommended_filename };
    print JSON::PP->new->ascii->encode([grep { defined && length } @names]), "\n";
}
`

// What mail readers call a file is among the names that are checked, however it is written.
func TestFileNamesAsOthersSee(t *testing.T) {
	for _, judge := range []struct {
		name, program string
		args          []string
	}{
		{"Python", "python3", []string{"-c", pythonNames}},
		{"Perl", "perl-mime", []string{"-e", perlNames}},
	} {
		t.Run(judge.name, func(t *testing.T) {
			asOthersSee(t, append([]string{installed.Need(t, judge.program)}, judge.args...))
		})
	}
}

func asOthersSee(t *testing.T, command []string) {
	headers := installed.Rounds(5000, 1000)
	cmd := exec.Command(command[0], command[1:]...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = io.Discard
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(3, 4))
	var raws []string
	for range headers {
		raws = append(raws, "MIME-Version: 1.0\r\n"+nameHeader(r)+"\r\n\r\nx\r\n")
	}
	go func() {
		defer in.Close()
		for _, raw := range raws {
			fmt.Fprintln(in, base64.StdEncoding.EncodeToString([]byte(raw)))
		}
	}()
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	seen, bad := 0, 0
	for _, raw := range raws {
		if !lines.Scan() {
			t.Fatal("the judge ended early")
		}
		var others []string
		if err := json.Unmarshal(lines.Bytes(), &others); err != nil {
			t.Fatal(err)
		}
		s, err := PartsOf(context.Background(), of(raw))
		if err != nil {
			t.Fatal(err)
		}
		for _, other := range others {
			// One that is not decoded has no ending; one that is refused for its form is not read.
			if other = ending(DecodeWords(other)); other == "" || s.Defects.Has(BadFileName|BadDisposition|BadType) {
				continue
			}
			seen++
			if !slices.ContainsFunc(s.Parts[0].FileNames, func(name string) bool { return ending(name) == other }) {
				if bad++; bad < 15 {
					t.Errorf("%q: %q, and they see %q", raw, s.Parts[0].FileNames, other)
				}
			}
		}
	}
	_ = cmd.Wait()
	if seen < headers/10 {
		t.Errorf("they saw %d names: that proves little", seen)
	}
}

// ending is what decides what a file is: what stands behind the last dot, with what Windows takes away.
func ending(name string) string {
	name = strings.TrimRight(strings.ToValidUTF8(name, string(utf8.RuneError)), ". \t\r\n\"'")
	return strings.ToLower(name[strings.LastIndexByte(name, '.')+1:])
}

// nameHeader is a header in which some file name is written in some way.
func nameHeader(r *rand.Rand) string {
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	value := func() string {
		name := pick("a", "b c", "d;e", "f\\\\g", "h(i)", "caf\xe9", "café", "", "=?utf-8?q?j=2E?=", "k\\\"l", "m\u200b", "'n") + "." + pick("exe", "txt", "xml", "e", "xe", "pdf.exe", "exe'", "exe\u200b", "exe:x")
		switch r.IntN(10) {
		case 8:
			return "\"=?utf-8?q?=22" + name + "=22?=\""
		case 9:
			return pick("\"=?utf-16?b?YQAuAGUAeABlAA==?=\"", "\"=?utf-16be?b?AGEALgBlAHgAZQ==?=\"", "=?utf-7?q?a+AC4-exe?=")
		case 0:
			return name
		case 1:
			return "\"" + name
		case 2:
			return "=?utf-8?b?" + base64.StdEncoding.EncodeToString([]byte(name)) + "?="
		case 3:
			return "\"=?iso-8859-1?Q?" + strings.ReplaceAll(name, " ", "_") + "?=\""
		case 4:
			return "\"=?utf-8?q?a?=\r\n =?utf-8?q?" + name + "?=\""
		case 5:
			return "\"" + name + "\"" + pick("", " ", " (comment)", ".exe", "x")
		}
		return "\"" + name + "\""
	}
	param := func() string {
		name := pick("filename", "name", "FileName", "NAME")
		space := pick("", "", "", " ", "\t", "\r\n ")
		switch r.IntN(7) {
		case 4:
			return name + pick("*", "*0*") + "=" + pick("utf-16''", "utf-16le''", "UTF-32''") + pick("%61%00%2e%00%65%00%78%00%65%00", "%00%61%00%2e%00%65%00%78%00%65")
		case 0:
			return name + "*" + space + "=" + pick("utf-8''", "iso-8859-1'en'", "''", "", "x-none''", "'") + pick("a%2Eexe", "caf%C3%A9.txt", "caf%E9.exe", "a.xml", "%zz.exe")
		case 1:
			return name + "*0=" + pick("\"a.\"", "a", "\"\"") + ";" + space + name + "*1=" + pick("exe", "\".txt\"", "\"xml\"")
		case 2:
			return name + "*0*=" + pick("utf-8''a%2E", "iso-8859-1''%E9.", "a.") + "; " + name + "*1" + pick("", "*") + "=" + pick("exe", "txt%20", "x%2Eml")
		case 3:
			return name + "*1=" + pick("exe", "txt") + "; " + name + "*0=" + pick("a.", "\"b.\"")
		}
		return name + space + "=" + space + value()
	}
	field := func(name string) string {
		kind := "attachment"
		if name == "Content-Type" {
			kind = "application/octet-stream"
		}
		f := name + ": " + pick(kind, kind, kind+" (comment)", kind+" ", kind+" (comment; name=x.bat)")
		if r.IntN(12) == 0 {
			f = name + ": " + param()
		}
		for range 1 + r.IntN(3) {
			f += pick(";", "; ", ";\r\n\t", " ; ", ";; ") + param()
		}
		return f + pick("", "", ";", " ")
	}
	fields := []string{field("Content-Disposition"), field("Content-Type")}
	return strings.Join(fields[r.IntN(2):], "\r\n")
}
