package dsn

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

const letter = "Received: from client by msa.example.org; Mon, 4 May 2026 11:59:00 +0000\r\n" +
	"From: alice@example.org\r\nSubject: Hello\r\n there\r\n\r\nBody text\r\n"

func sample() *Report {
	return &Report{
		ID: "Q2", Hostname: "msa.example.org", To: "alice@example.org", Date: noon,
		EnvelopeID: "ENV=1", Arrival: noon.Add(-time.Minute),
		Recipients: []Recipient{
			{Original: "rfc822;Bob+2Btag@example.net", Final: "bob+tag@example.net", Action: Failed, Status: "5.1.1", RemoteMTA: "mx.example.net", Diagnostic: "550 5.1.1 No such user", LastAttempt: noon},
			{Final: "carol@example.com", Action: Failed, Status: "5.4.7", Diagnostic: "451 4.2.0 Busy", LastAttempt: noon},
			{Final: `"d e"@example.com`, Action: Failed},
		},
		Message: strings.NewReader(letter),
	}
}

func write(t testing.TB, r *Report) (string, Body) {
	t.Helper()
	var b bytes.Buffer
	body, err := Write(&b, r)
	if err != nil {
		t.Fatal(err)
	}
	return b.String(), body
}

var boundaries = regexp.MustCompile(`[0-9a-f]{60}`)

func TestGolden(t *testing.T) {
	delayed := sample()
	delayed.Recipients = []Recipient{{Final: "bob@example.net", Action: Delayed, Status: "4.4.1", LastAttempt: noon, WillRetryUntil: noon.Add(24 * time.Hour)}}
	success := sample()
	success.Recipients = []Recipient{{Final: "bob@example.net", Action: Delivered, Status: "2.1.5"}, {Final: "carol@example.com", Action: Relayed}}
	full := sample()
	full.Full = true
	utf8 := sample()
	utf8.UTF8, utf8.To = true, "ålice@example.org"
	utf8.Recipients = []Recipient{{Original: `utf-8;j\x{F6}rg@example.net`, Final: "jörg@example.net", Action: Failed, Status: "5.1.1", Diagnostic: "550 5.1.1 Jörg ist fort"}}
	utf8.Message = strings.NewReader("Subject: Grüße\r\n\r\nBody\r\n")
	ascii := *utf8
	ascii.UTF8, ascii.To, ascii.Message = false, "alice@example.org", strings.NewReader("Subject: Gr\xfc\xdfe\r\n\r\nBody\r\n")
	for name, c := range map[string]struct {
		report *Report
		body   Body
	}{
		"failed":  {sample(), Body{}},
		"full":    {full, Body{}},
		"delayed": {delayed, Body{}},
		"success": {success, Body{}},
		"utf8":    {utf8, Body{EightBit: true, UTF8Header: true}},
		"ascii":   {&ascii, Body{}},
	} {
		t.Run(name, func(t *testing.T) {
			text, body := write(t, c.report)
			if body != c.body {
				t.Errorf("body %+v, wanted %+v", body, c.body)
			}
			if strings.Contains(strings.ReplaceAll(text, "\r\n", ""), "\n") {
				t.Error("a line does not end in CRLF")
			}
			got := strings.ReplaceAll(boundaries.ReplaceAllString(text, "BOUNDARY"), "\r\n", "\n")
			file := filepath.Join("testdata", name+".eml")
			if os.Getenv("UPDATE_GOLDEN") != "" {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("differs from %s (UPDATE_GOLDEN=1 writes it anew):\n%s", file, got)
			}
		})
	}
}

func TestHeaderIsBounded(t *testing.T) {
	for _, end := range []string{"", "\r\n\r\nBODY\r\n"} {
		header := strings.Repeat("X-Field: "+strings.Repeat("x", 89)+"\r\n", 10000)
		r := sample()
		r.Message = strings.NewReader(strings.TrimSuffix(header, "\r\n") + end)
		text, _ := write(t, r)
		if len(text) > MaxHeader+4096 || len(text) < MaxHeader {
			t.Errorf("%d octets", len(text))
		}
		if !strings.Contains(text, strings.Repeat("x", 89)+"\r\n\r\n--") {
			t.Error("it was not cut between two lines")
		}
	}
}

func TestCutHeader(t *testing.T) {
	for message, want := range map[string]string{
		"":                       "",
		"\r\n":                   "",
		"\r\nbody\r\n\r\n":       "",
		"A: b\r\n\r\nbody\r\n":   "A: b\r\n",
		"A: b\r\n":               "A: b\r\n",
		"A: b":                   "A: b",
		"A: b\r\n c\r\n\r\n\r\n": "A: b\r\n c\r\n",
	} {
		if got := string(cutHeader([]byte(message), false)); got != want {
			t.Errorf("%q: %q, wanted %q", message, got, want)
		}
	}
}

// brokenReader fails after a while, as a broken disk does.
type brokenReader struct{ io.ReadSeeker }

var errBroken = errors.New("broken")

func (b brokenReader) Read(p []byte) (int, error) {
	n, err := b.ReadSeeker.Read(p)
	if err == io.EOF {
		err = errBroken
	}
	return n, err
}

func TestUnreadableMessage(t *testing.T) {
	for _, full := range []bool{false, true} {
		r := sample()
		r.Full, r.Message = full, brokenReader{strings.NewReader(letter)}
		if _, err := Write(io.Discard, r); !errors.Is(err, errBroken) {
			t.Errorf("full %v: %v", full, err)
		}
	}
}

type brokenWriter struct{ left int }

func (b *brokenWriter) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, errBroken
	}
	return len(p), nil
}

func TestWriteFails(t *testing.T) {
	for _, room := range []int{0, 20 << 10, 100 << 10} {
		r := sample()
		r.Full, r.Message = true, strings.NewReader(letter+strings.Repeat("text\r\n", 30000))
		if _, err := Write(&brokenWriter{room}, r); !errors.Is(err, errBroken) {
			t.Errorf("room for %d: %v", room, err)
		}
	}
}

func TestStatus(t *testing.T) {
	for _, c := range []struct {
		action Action
		status string
		want   string
	}{
		{Failed, "5.1.1", "5.1.1"}, {Failed, "5.7.999", "5.7.999"}, {Failed, "", "5.0.0"}, {Failed, "5.1.1000", "5.0.0"}, {Failed, "9.1.1", "5.0.0"},
		{Failed, "5.1.1\r\nX: y", "5.0.0"}, {Delayed, "x", "4.0.0"}, {Relayed, "", "2.0.0"}, {Delivered, "2.1.5", "2.1.5"},
	} {
		r := Recipient{Action: c.action, Status: c.status}
		if got := r.status(); got != c.want {
			t.Errorf("%s %q: %s, wanted %s", c.action, c.status, got, c.want)
		}
	}
}

func TestOriginal(t *testing.T) {
	for orcpt, want := range map[string]string{
		"rfc822;a+2Bb@example.net": "rfc822; a+b@example.net", "x400;+2FC+3Dde": "x400; /C=de", `utf-8;a\x{2B}b@example.net`: `utf-8; a\x{2B}b@example.net`,
		"x;a+4": "x; a+4", ";a": "", "a;": "",
	} {
		if have, _ := (printer{}).original(orcpt); have != want {
			t.Errorf("%q: %q", orcpt, have)
		}
	}
}

func TestRemoteMTA(t *testing.T) {
	for name, want := range map[string]string{
		"mx.example.net": "dns; mx.example.net", "192.0.2.1": "dns; [192.0.2.1]", "2001:db8::1": "dns; [IPv6:2001:db8::1]", "": "", "\r\n": "",
	} {
		if have := (printer{}).mta(name); have != want {
			t.Errorf("%q: %q", name, have)
		}
	}
}
