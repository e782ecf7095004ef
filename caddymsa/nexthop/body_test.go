package nexthop

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
)

// dotted is what goes out for a message, and in how many writes.
func dotted(t testing.TB, message io.Reader) (out *bytes.Buffer, writes int) {
	t.Helper()
	out = new(bytes.Buffer)
	b := buffers.Get().(*buffer)
	defer buffers.Put(b)
	end, err := b.dotted(message, func(p []byte) error { writes++; _, err := out.Write(p); return err })
	if err != nil {
		t.Fatal(err)
	}
	out.Write(end)
	return out, writes + 1
}

func TestBody(t *testing.T) {
	for in, want := range map[string]string{
		"":                       ".\r\n",
		"\r\n":                   "\r\n.\r\n",
		"a":                      "a\r\n.\r\n",
		"a\r\n":                  "a\r\n.\r\n",
		"a\r\n\r\n":              "a\r\n\r\n.\r\n",
		".":                      "..\r\n.\r\n",
		".\r\n":                  "..\r\n.\r\n",
		"..\r\n.a\r\n":           "...\r\n..a\r\n.\r\n",
		"a.\r\nb\r\n.\r\n":       "a.\r\nb\r\n..\r\n.\r\n",
		"a\n.\n":                 "a\n..\n\r\n.\r\n", // smuggling: no dot after a bare LF
		"a\r\n.\r\nMAIL FROM:<>": "a\r\n..\r\nMAIL FROM:<>\r\n.\r\n",
	} {
		to, writes := dotted(t, strings.NewReader(in))
		if to.String() != want || writes != 1 {
			t.Errorf("%q: have %q in %d writes", in, to.String(), writes)
		}
	}
	for size := block - 5; size < block+5; size++ { // the dot and the end at the seam
		for _, tail := range []string{"\r\n", "\r\n.\r\n", "\r\n.x", "\r\n.\r\n.\r\n"} {
			in := strings.Repeat("x", size-len(tail)) + tail
			checkRoundTrip(t, in)
			checkRoundTrip(t, in+"\r\n.abc\r\n")
		}
	}
	checkRoundTrip(t, strings.Repeat("\n.", block))
}

// checkRoundTrip sends a message to a strict receiver.
func checkRoundTrip(t *testing.T, in string) {
	t.Helper()
	for _, r := range []io.Reader{strings.NewReader(in), iotest.DataErrReader(strings.NewReader(in))} {
		to, _ := dotted(t, r)
		have, err := msatest.ReadData(bufio.NewReaderSize(to, 64))
		want := in
		if want != "" && !strings.HasSuffix(want, "\r\n") {
			want += "\r\n"
		}
		// A dot behind a bare LF is doubled, and no strict receiver takes it out.
		want = strings.ReplaceAll(strings.ReplaceAll(want, "\n.", "\n.."), "\r\n..", "\r\n.")
		if err != nil || string(have) != want || to.Len() != 0 {
			t.Fatalf("%.200q: have %.200q, %v, %d octets left", in, have, err, to.Len())
		}
	}
}

// FuzzBody: no message ends before its end, and lines stay as they were.
func FuzzBody(f *testing.F) {
	for _, s := range []string{"", ".", "\r\n.\r\n", "a\n.\n", "\r.\r\n", ".\r.\r\n", "..", "\r\n.\r\nMAIL"} {
		f.Add(s, uint16(0))
		f.Add(s, uint16(block-2))
	}
	f.Fuzz(func(t *testing.T, s string, pad uint16) {
		checkRoundTrip(t, strings.Repeat("x", int(pad)%(2*block))+s)
	})
}

func TestScan(t *testing.T) {
	for in, want := range map[string][2]bool{
		"":                        {false, false},
		"a: b\r\n\r\nc":           {false, false},
		"a: \xfc\r\n\r\nc":        {true, false},
		"a: b\r\n\r\n\xfc":        {false, true},
		"a: b\n\n\xfc":            {false, true},
		"\r\n\xfc":                {false, true},
		"a: b\r\n \r\n\xfc: \r\n": {true, false},
		"a\r\n" + strings.Repeat("x", block-4) + "\n\r\n\xe4": {false, true},
	} {
		r := strings.NewReader(in)
		header, body, err := scan(r)
		if err != nil || header != want[0] || body != want[1] || r.Len() != len(in) {
			t.Errorf("%.40q: %v %v %v", in, header, body, err)
		}
	}
}

func BenchmarkBody(b *testing.B) {
	message := []byte(strings.Repeat(strings.Repeat("x", 70)+"\r\n", 20<<20/72))
	b.SetBytes(int64(len(message)))
	buf := new(buffer)
	for b.Loop() {
		if _, err := buf.dotted(bytes.NewReader(message), func([]byte) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
