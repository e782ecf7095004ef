package dsn

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"testing"
	"time"
)

// A notification gets smaller twice: to the header, to the text alone. It is 7-bit then, and says the same.
func TestReduce(t *testing.T) {
	for name, tt := range map[string]struct {
		message string
		full    bool
		utf8    bool
		to      string
	}{
		"large":        {"Subject: x\r\nFrom: a@b.example\r\n\r\n" + strings.Repeat("body of the message\r\n", 10_000), true, false, "alice@example.org"},
		"8 bit":        {"Subject: x\r\n\r\ncaf\xe9 \xff\r\n", true, false, "alice@example.org"},
		"8-bit header": {"Subject: caf\xe9\r\n\r\nx\r\n", true, false, "alice@example.org"},
		"UTF-8":        {"Subject: café\r\n\r\ncafé\r\n", true, true, "alice@example.org"},
		"UTF-8 sender": {"Subject: café\r\n\r\ncafé\r\n", true, true, "bücher@example.org"},
		"header":       {"Subject: café\r\n\r\ncafé\r\n", false, true, "alice@example.org"},
		"no header":    {"\r\nbody of the message\r\n", true, false, "alice@example.org"},
		"nothing":      {"", true, false, "alice@example.org"},
	} {
		r := &Report{
			ID: "Q1", Hostname: "msa.example.org", To: tt.to, Date: time.Unix(1, 0), Arrival: time.Unix(1, 0), Full: tt.full, UTF8: tt.utf8,
			Message: strings.NewReader(tt.message), Recipients: []Recipient{{Final: "böb@example.net", Action: Failed, Status: "5.3.4", Diagnostic: "552 5.3.4 too large"}},
		}
		var b bytes.Buffer
		if _, err := Write(&b, r); err != nil {
			t.Fatal(name, err)
		}
		parts := []int{3, 1}
		if !tt.full {
			parts = parts[1:]
		}
		for _, want := range parts {
			var smaller bytes.Buffer
			body, err := Reduce(&smaller, bytes.NewReader(b.Bytes()))
			if err != nil {
				t.Fatal(name, err)
			}
			head, content, _ := bytes.Cut(smaller.Bytes(), []byte("\r\n\r\n"))
			if eightBit(content) || body.EightBit || body.UTF8Header != eightBit(head) || body.UTF8Header != (tt.to != "alice@example.org") || bytes.Contains(content, []byte("body of the message")) {
				t.Errorf("%s: %+v\n%s", name, body, smaller.Bytes())
			}
			m, err := mail.ReadMessage(bytes.NewReader(smaller.Bytes()))
			if err != nil || m.Header.Get("Message-Id") != "<Q1@msa.example.org>" || m.Header.Get("Auto-Submitted") != "auto-replied" || m.Header.Get("Mime-Version") != "1.0" {
				t.Fatal(name, err, m)
			}
			if got := readParts(t, m); len(got) != want || !strings.Contains(got[0], "552 5.3.4 too large") || want == 3 && !strings.Contains(got[1], "Status: 5.3.4") {
				t.Errorf("%s: %q", name, got)
			} else if strings.Contains(tt.message, "Subject: x") && want == 3 && !strings.Contains(got[2], "Subject: x") {
				t.Errorf("%s: %q", name, got)
			}
			b = smaller
		}
		if _, err := Reduce(io.Discard, bytes.NewReader(b.Bytes())); !errors.Is(err, ErrSmallest) {
			t.Error(name, err)
		}
	}
}

// readParts are the contents of a message's parts, or its own.
func readParts(t *testing.T, m *mail.Message) (all []string) {
	t.Helper()
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	if kind == "text/plain" {
		r := m.Body
		if m.Header.Get("Content-Transfer-Encoding") == "quoted-printable" {
			r = quotedprintable.NewReader(r)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		return []string{string(b)}
	}
	for r := multipart.NewReader(m.Body, params["boundary"]); ; {
		p, err := r.NextPart()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(p)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(b))
	}
}

func FuzzReduce(f *testing.F) {
	f.Add([]byte("Content-Type: multipart/report; report-type=delivery-status; boundary=x\r\n\r\n--x\r\n\r\na\r\n--x\r\n\r\nb\r\n--x\r\nContent-Type: message/rfc822\r\n\r\nc: d\r\n\r\n--x--\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		var b bytes.Buffer
		if _, err := Reduce(&b, bytes.NewReader(in)); err == nil {
			// A header without a field of its own ends at once.
			if !bytes.HasPrefix(b.Bytes(), []byte("\r\n")) && !bytes.Contains(b.Bytes(), []byte("\r\n\r\n")) {
				t.Errorf("no end of the header: %q", b.Bytes())
			}
		}
	})
}
