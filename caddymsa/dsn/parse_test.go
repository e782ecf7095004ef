package dsn

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-message"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
)

// python is the path of a Python with its email package, as an independent reader.
func python(t *testing.T) string {
	t.Helper()
	return installed.Need(t, "python3")
}

// reader prints what Python's email package reads in a message.
const reader = `
import sys, json, email
from email import policy
m = email.message_from_bytes(sys.stdin.buffer.read(), policy=policy.SMTPUTF8)
defects = []
for p in m.walk():
    defects += [repr(d) for d in p.defects]
    for v in p.values():
        defects += [repr(d) for d in getattr(v, "defects", [])]
parts = m.get_payload()
status = []
if parts[1].get_content_type() == "message/delivery-status":
    status = [[[k, str(v)] for k, v in g.items()] for g in parts[1].get_payload()]
json.dump({
    "header": [[k, str(v)] for k, v in m.items()],
    "type": m.get_content_type(), "report": m.get_param("report-type"),
    "parts": [p.get_content_type() for p in parts],
    "text": parts[0].get_content(),
    "status": status,
    "copy": (parts[2].get_payload(0) if parts[2].is_multipart() else parts[2]).as_bytes().decode("latin-1") if len(parts) > 2 else "",
    "defects": defects,
}, sys.stdout)
`

type read struct {
	Header  [][2]string
	Type    string
	Report  string
	Parts   []string
	Text    string
	Status  [][][2]string
	Copy    string
	Defects []string
}

func readWithPython(t *testing.T, path, text string) read {
	t.Helper()
	cmd := exec.Command(path, "-c", reader)
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("%v: %s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	var r read
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func get(fields [][2]string, name string) (all []string) {
	for _, f := range fields {
		if strings.EqualFold(f[0], name) {
			all = append(all, f[1])
		}
	}
	return all
}

func TestReadByPython(t *testing.T) {
	path := python(t)
	for _, full := range []bool{false, true} {
		r := sample()
		r.Full = full
		text, _ := write(t, r)
		m := readWithPython(t, path, text)
		if len(m.Defects) > 0 {
			t.Errorf("defects %v", m.Defects)
		}
		third := "text/rfc822-headers"
		if full {
			third = "message/rfc822"
		}
		if m.Type != "multipart/report" || m.Report != "delivery-status" || !slices.Equal(m.Parts, []string{"text/plain", "message/delivery-status", third}) {
			t.Errorf("types %+v", m)
		}
		for name, want := range map[string]string{
			"To": "<alice@example.org>", "From": "Mail Delivery System <MAILER-DAEMON@msa.example.org>", "Auto-Submitted": "auto-replied",
			"Date": "Mon, 04 May 2026 12:00:00 +0000", "Message-ID": "<Q2@msa.example.org>", "MIME-Version": "1.0",
		} {
			if got := get(m.Header, name); !slices.Equal(got, []string{want}) && !slices.Equal(got, []string{strings.Trim(want, "<>")}) {
				t.Errorf("%s is %q, wanted %q", name, got, want)
			}
		}
		if len(m.Status) != 4 {
			t.Fatalf("%d groups of fields: %v", len(m.Status), m.Status)
		}
		for i, want := range []map[string]string{
			{"Reporting-MTA": "dns; msa.example.org", "Original-Envelope-Id": "ENV=1", "Arrival-Date": "Mon, 04 May 2026 11:59:00 +0000"},
			{"Original-Recipient": "rfc822; Bob+tag@example.net", "Final-Recipient": "rfc822; bob+tag@example.net", "Action": "failed", "Status": "5.1.1",
				"Remote-MTA": "dns; mx.example.net", "Diagnostic-Code": "smtp; 550 5.1.1 No such user", "Last-Attempt-Date": "Mon, 04 May 2026 12:00:00 +0000"},
			{"Final-Recipient": "rfc822; carol@example.com", "Action": "failed", "Status": "5.4.7", "Diagnostic-Code": "smtp; 451 4.2.0 Busy", "Last-Attempt-Date": "Mon, 04 May 2026 12:00:00 +0000"},
			{"Final-Recipient": `rfc822; "d e"@example.com`, "Action": "failed", "Status": "5.0.0"},
		} {
			if len(m.Status[i]) != len(want) {
				t.Errorf("group %d: %v", i, m.Status[i])
			}
			for name, value := range want {
				if got := get(m.Status[i], name); !slices.Equal(got, []string{value}) {
					t.Errorf("group %d: %s is %q, wanted %q", i, name, got, value)
				}
			}
		}
		if !strings.Contains(m.Text, "bob+tag@example.net") || !strings.Contains(m.Text, "mx.example.net said: 550 5.1.1 No such user") {
			t.Errorf("text %s", m.Text)
		}
		if !strings.Contains(m.Copy, "Subject: Hello") || strings.Contains(m.Copy, "Body text") != full {
			t.Errorf("copy %s", m.Copy)
		}
	}
}

// People read what was said as it was said, though the message came without SMTPUTF8; what programs read is ASCII.
func TestUTF8ForPeople(t *testing.T) {
	r := sample()
	r.Recipients = []Recipient{{Final: "bob@example.net", Action: Failed, Status: "5.0.0", Diagnostic: "Grüße an “Dich” \xff"}}
	text, body := write(t, r)
	checkReport(t, text, body, 1)
	if body != (Body{}) || !isASCII(text) || !strings.Contains(text, "Diagnostic-Code: smtp; Gr??e an ?Dich? ?\r\n") {
		t.Errorf("%+v\n%s", body, text)
	}
	if m := readWithPython(t, python(t), text); len(m.Defects) > 0 || !strings.Contains(m.Text, "Reason: Grüße an “Dich” ?") {
		t.Errorf("%v\n%s", m.Defects, m.Text)
	}
}

// A sender finds its recipients by ORCPT, so that it comes back as it was, up to the 500 octets that it may have.
func TestLongORCPT(t *testing.T) {
	r := sample()
	orcpt := `utf-8;` + strings.Repeat(`\x{F6}`, 80) + "@example.net"
	r.Recipients = []Recipient{{Original: orcpt, Final: "bob@example.net", Action: Failed}}
	text, body := write(t, r)
	checkReport(t, text, body, 1)
	if len(orcpt) < 490 || !strings.Contains(text, "Original-Recipient: "+strings.Replace(orcpt, ";", "; ", 1)+"\r\n") {
		t.Errorf("%d octets\n%s", len(orcpt), text)
	}
}

// An address of the utf-8 type has no plus, equals sign or backslash as they are (RFC 6533 section 3), and is whole in ASCII too.
func TestUTF8Address(t *testing.T) {
	long := strings.Repeat("あ", 20) + "+x@" + strings.Repeat("い", 15) + "." + strings.Repeat("う", 15) + ".example"
	for _, tt := range []struct {
		utf8        bool
		final, want string
	}{
		{true, "jörg+a=b@example.net", `utf-8; jörg\x{2B}a\x{3D}b@example.net`},
		{false, "jörg+a=b@example.net", `utf-8; j\x{F6}rg\x{2B}a\x{3D}b@example.net`},
		{true, `"a b\\c"@bücher.example`, `utf-8; "a\x{20}b\x{5C}\x{5C}c"@bücher.example`},
		{true, "a+b@example.net", "rfc822; a+b@example.net"},
		{false, long, "utf-8; " + strings.Repeat(`\x{3042}`, 20) + `\x{2B}x@` + strings.Repeat(`\x{3044}`, 15) + "." + strings.Repeat(`\x{3046}`, 15) + ".example"},
	} {
		r := sample()
		r.UTF8, r.Recipients = tt.utf8, []Recipient{{Final: tt.final, Action: Failed}}
		text, body := write(t, r)
		checkReport(t, text, body, 1)
		if !strings.Contains(text, "\r\nFinal-Recipient: "+tt.want+"\r\n") {
			t.Errorf("%s:\n%s", tt.final, text)
		}
	}
}

// Whatever recipients, replies and hosts are called, it stays one report.
func TestHostileTexts(t *testing.T) {
	evil := "x\r\nBcc: evil@example.com\r\n\r\n--b\r\nSubject: forged\n\x00\x1b\u2028\u0085\xff é " + strings.Repeat("long ", 1000)
	for _, utf8 := range []bool{false, true} {
		r := &Report{
			ID: evil, Hostname: evil, To: evil, Date: noon, EnvelopeID: evil, Arrival: noon, UTF8: utf8,
			Recipients: []Recipient{{Original: "rfc822;" + evil + "+0D+0ABcc:+20x", Final: evil, Action: Failed, Status: evil, RemoteMTA: evil, Diagnostic: evil},
				{Original: evil + ";" + evil, Final: evil, Action: Delayed}},
			Message: strings.NewReader(letter),
		}
		text, body := write(t, r)
		checkReport(t, text, body, len(r.Recipients))
		if !utf8 && (body.EightBit || body.UTF8Header) {
			t.Errorf("body %+v", body)
		}
		for _, field := range []string{"bcc", "subject"} {
			if m := readWithPython(t, python(t), text); len(get(m.Header, field)) > 1 || field == "bcc" && len(get(m.Header, field)) > 0 {
				t.Errorf("header %v", m.Header)
			}
		}
	}
}

// checkReport reads a report with go-message and checks what holds for all.
func checkReport(t *testing.T, text string, body Body, recipients int) {
	t.Helper()
	for i, line := range strings.SplitAfter(text, "\r\n") {
		if line, ok := strings.CutSuffix(line, "\r\n"); len(line) > 998 || strings.ContainsAny(line, "\r\n\x00") || !ok && line != "" {
			t.Errorf("line %d: %q", i, line)
		}
	}
	if !body.EightBit && !body.UTF8Header && !isASCII(text) {
		t.Error("eight bits undeclared")
	}
	header, _, _ := strings.Cut(text, "\r\n\r\n")
	if !body.UTF8Header && !isASCII(header) {
		t.Error("UTF-8 in the header undeclared")
	}
	m, err := message.Read(strings.NewReader(text))
	if err != nil && !message.IsUnknownCharset(err) {
		t.Fatal(err)
	}
	var names []string
	for f := m.Header.Fields(); f.Next(); {
		names = append(names, f.Key())
	}
	if got := strings.ToLower(strings.Join(names, " ")); got != "date from to message-id subject auto-submitted mime-version content-type content-transfer-encoding" {
		t.Errorf("header fields %s", got)
	}
	reader := m.MultipartReader()
	if reader == nil {
		t.Fatal("it is not a multipart")
	}
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; ; i++ {
		p, err := reader.NextPart()
		if err == io.EOF {
			if i != 2 && i != 3 {
				t.Errorf("%d parts", i)
			}
			return
		}
		if err != nil && !message.IsUnknownCharset(err) {
			t.Fatal(err)
		}
		content, err := io.ReadAll(p.Body)
		if err != nil {
			t.Fatal(err)
		}
		kind, _, _ := p.Header.ContentType()
		if i == 1 {
			if kind != "message/"+params["report-type"] {
				t.Errorf("part 2 is %s, the report type %s", kind, params["report-type"])
			}
			if n := strings.Count(string(content), "\r\nFinal-Recipient: "); n != recipients || strings.Count(string(content), "\r\n\r\n") != recipients {
				t.Errorf("%d recipients, wanted %d:\n%s", n, recipients, content)
			}
		}
	}
}

// ORCPT is told without xtext, of whatever type it is, and in ASCII where the report is.
func TestOriginalRecipient(t *testing.T) {
	for _, tt := range []struct {
		utf8        bool
		orcpt, want string
	}{
		{false, "x400;/C+3Dnl/ADMD+3D400net/", "x400; /C=nl/ADMD=400net/"},
		{false, "X-local;a+2Bb", "X-local; a+b"},
		{false, "rfc822;a+zz@example.net", "rfc822; a+zz@example.net"},
		{false, "utf-8;jörg@example.net", `utf-8; j\x{F6}rg@example.net`},
		{true, "UTF-8;jörg@example.net", "UTF-8; jörg@example.net"},
		{false, `utf-8;a\x{2B}b@example.net`, `utf-8; a\x{2B}b@example.net`},
	} {
		if got, _ := (printer{utf8: tt.utf8}).original(tt.orcpt); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.orcpt, got, tt.want)
		}
	}
}

func FuzzWrite(f *testing.F) {
	f.Add("msa.example.org", "alice@example.org", "rfc822;a+2Bb@example.net", "a+b@example.net", "5.1.1", "550 5.1.1 gone", letter, false, false)
	f.Add("", "", ";", "", "", "\r\n\r\n", "\r\n", true, true)
	f.Add("h\nX: y", "é@é", "utf-8;\\x{e9}@b", "é@b", "4.0.0", "\xff\xfe", "A: \xff\r\n b\r\n\r\n\xff", true, false)
	f.Fuzz(func(t *testing.T, hostname, to, orcpt, final, status, diagnostic, letter string, utf8, full bool) {
		letter = strings.ReplaceAll(letter, "\x00", "")
		// As the spool has it: lines that end in CRLF.
		letter = strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(letter, "\r\n", "\n"), "\r", ""), "\n", "\r\n")
		if len(letter) > 900 {
			letter = letter[:900]
			letter = strings.TrimSuffix(letter, "\r")
		}
		r := &Report{ID: "Q", Hostname: hostname, To: to, Date: noon, EnvelopeID: diagnostic, UTF8: utf8, Full: full,
			Recipients: []Recipient{{Original: orcpt, Final: final, Action: Failed, Status: status, Diagnostic: diagnostic, RemoteMTA: hostname}},
			Message:    strings.NewReader(letter)}
		text, body := write(t, r)
		checkReport(t, text, body, 1)
	})
}
