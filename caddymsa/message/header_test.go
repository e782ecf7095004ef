package message

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa"
)

func of(raw string) *caddymsa.Message {
	return caddymsa.NewMessage(int64(len(raw)), func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(raw)), nil
	})
}

func TestHeader(t *testing.T) {
	long := strings.Repeat("x", 9000)
	h, err := HeaderOf(of("From : alice@example.org\r\nSUBJECT: =?utf-8?q?caf=C3=A9?=\r\n =?iso-8859-1?q?_=E9?=\r\nno field\r\n folded: too\r\nX-Long: " + long +
		"\r\n\ty\r\nsubject: two\nBad Name: x\r\n: empty\r\n\r\nTo: body\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range h {
		names = append(names, f.Name)
	}
	if got := strings.Join(names, ","); got != "From,SUBJECT,,X-Long,subject,," {
		t.Errorf("names %s", got)
	}
	for name, want := range map[string]string{
		"from": "alice@example.org", "x-long": long + "\ty", "To": "", "folded": "",
		"Subject": "=?utf-8?q?caf=C3=A9?= =?iso-8859-1?q?_=E9?=|two",
	} {
		if got := strings.Join(h.Values(name), "|"); got != want {
			t.Errorf("%s: %.80q, want %.80q", name, got, want)
		}
	}
	if f, ok := h.First("Subject"); !ok || f.Text() != "café é" || h.Count("Subject") != 2 {
		t.Errorf("%q, %d", f.Text(), h.Count("Subject"))
	}
	if _, ok := h.First("To"); ok || h.Count("To") != 0 {
		t.Error("a field of the body is in the header")
	}
}

func TestHeaderEnds(t *testing.T) {
	for raw, fields := range map[string]int{
		"": 0, "\r\n": 0, "\r\nA: b\r\n": 0, "A: b": 1, "A: b\r\n": 1, "A: b\r\n\r\n": 1, " A: b\r\nB: c\r\n": 2,
		"A: b\r\n \r\nC: d\r\n\r\n": 2, "\n": 0,
	} {
		if h, err := ReadHeader(strings.NewReader(raw)); err != nil || len(h) != fields {
			t.Errorf("%q: %d fields, %v", raw, len(h), err)
		}
	}
	if _, err := HeaderOf(of(strings.Repeat("A: b\r\n", MaxHeader/6+1))); !errors.Is(err, ErrHeaderTooLong) {
		t.Error(err)
	}
	broken := errors.New("broken disk")
	if _, err := HeaderOf(caddymsa.NewMessage(1, func() (io.ReadCloser, error) { return nil, broken })); !errors.Is(err, broken) {
		t.Error(err)
	}
}

// Every policy that asks costs one reading together.
func TestHeaderIsReadOnce(t *testing.T) {
	n := 0
	m := caddymsa.NewMessage(6, func() (io.ReadCloser, error) { n++; return io.NopCloser(strings.NewReader("A: b\r\n")), nil })
	for range 3 {
		if h, err := HeaderOf(m); err != nil || len(h) != 1 {
			t.Fatal(h, err)
		}
	}
	if n != 1 {
		t.Errorf("read %d times", n)
	}
}

// What was read is what was submitted, octet for octet, and nothing is seen twice.
func FuzzHeader(f *testing.F) {
	for _, s := range []string{"A: b\r\n\r\nbody", "A: b\r\n c\r\n", " x\n:\n\n", "A : =?utf-8?b?4pi?=\r\n", "\r\n", "A", strings.Repeat("y", 5000)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		h, err := ReadHeader(bytes.NewReader(raw))
		if err != nil {
			if !errors.Is(err, ErrHeaderTooLong) || len(raw) <= MaxHeader {
				t.Fatal(err)
			}
			return
		}
		var all []byte
		for _, field := range h {
			all = append(all, field.Raw...)
			if strings.ContainsAny(field.Name, "\r\n :") || strings.ContainsAny(field.Value(), "\n") {
				t.Fatalf("%q: %q", field.Name, field.Value())
			}
			_ = field.Text()
		}
		if !bytes.HasPrefix(raw, all) {
			t.Fatalf("%q is not how %q begins", all, raw)
		}
		if rest := raw[len(all):]; len(rest) > 0 && rest[0] != '\n' && rest[0] != '\r' {
			t.Fatalf("the header ends before %q", rest)
		}
	})
}

func BenchmarkHeader(b *testing.B) {
	raw := strings.Repeat("X-Field: some value of a usual length\r\n", 30) + "\r\nbody\r\n"
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ReadHeader(strings.NewReader(raw)); err != nil {
			b.Fatal(err)
		}
	}
}
