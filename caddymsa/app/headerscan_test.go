package app

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// Whatever the pieces in which a message comes, its header is judged alike.
func TestHeaderScan(t *testing.T) {
	const received, loops = "Received: from a\r\n\tby b; x\r\n", 100
	limits := &Limits{HeaderFields: 200, HeaderSize: 100_000, ReceivedFields: loops}
	for _, tt := range []struct {
		text string
		want error
	}{
		{"Subject: x\r\n\r\n", nil},
		{"", nil},
		{"\r\n body", nil},
		// issue 10.5: it would continue a field of ours.
		{" folded\r\nSubject: x\r\n\r\n", errFirstLine},
		{"\tfolded\r\n\r\n", errFirstLine},
		{" ", errFirstLine},
		{"\vfolded\r\n\r\n", errFirstLine},
		{"\ffolded\r\n\r\n", errFirstLine},
		{" \r\n\r\n", errFirstLine},
		// RFC 5321 section 6.3
		{strings.Repeat(received, loops-1) + "\r\nReceived: in the body\r\n", nil},
		{strings.Repeat(received, loops) + "\r\n", errLoop},
		{strings.Repeat("rEceIVED: x\r\n", loops), errLoop},
		{strings.Repeat("X-Received: x\r\n", loops) + "\r\n", nil},
		{strings.Repeat("X: "+strings.Repeat("Received:", 30)+"\r\n", loops) + "\r\n", nil},
		{"\r\n" + strings.Repeat(received, loops), nil},
		{strings.Repeat("X: y\r\n z\r\n", 200) + "\r\n" + strings.Repeat("X: y\r\n", 1000), nil},
		{strings.Repeat("X: y\r\n", 201) + "\r\n", errHeaderFields},
		{strings.Repeat("no field\r\n", 201) + "\r\n", errHeaderFields},
		{"X: " + strings.Repeat("y", 100_000-7) + "\r\n\r\n" + strings.Repeat("z", 200_000), nil},
		{"X: " + strings.Repeat("y", 100_000) + "\r\n\r\n", errHeaderSize},
		{"X: y\r\n" + strings.Repeat(" z\r\n", 30_000) + "\r\n", errHeaderSize},
		{strings.Repeat("x", 200_000), errHeaderSize},
	} {
		for _, size := range []int{1, 2, 7, 4096, 1 << 20} {
			h := headerScan{limits: limits}
			var err error
			for rest := tt.text; rest != "" && err == nil; {
				n := min(size, len(rest))
				err = h.scan([]byte(rest[:n]))
				rest = rest[n:]
			}
			if !errors.Is(err, tt.want) {
				t.Errorf("%.40q in pieces of %d: %v, want %v", tt.text, size, err, tt.want)
			}
		}
	}
}

// FuzzHeaderScan: the verdict does not depend on the pieces, and what passes has its first line to itself.
func FuzzHeaderScan(f *testing.F) {
	f.Add([]byte("Subject: x\r\n\r\n"), uint8(1))
	f.Add([]byte(" x\r\nReceived: y\r\n z\r\n"), uint8(3))
	f.Add([]byte("\r\n"), uint8(2))
	f.Fuzz(func(t *testing.T, text []byte, size uint8) {
		limits := &Limits{HeaderFields: 5, HeaderSize: 100, ReceivedFields: 3}
		whole := headerScan{limits: limits}
		want := whole.scan(text)
		pieces := headerScan{limits: limits}
		var got error
		for rest := text; len(rest) > 0 && got == nil; {
			n := min(int(size)+1, len(rest))
			got = pieces.scan(rest[:n])
			rest = rest[n:]
		}
		// Of several limits that a message is over, any may be the one that it hears of.
		if (want == nil) != (got == nil) || (want == errFirstLine) != (got == errFirstLine) {
			t.Errorf("%q: %v whole, %v in pieces of %d", text, want, got, size)
		}
	})
}

// The scan allocates nothing, and costs in proportion to the message.
func BenchmarkHeaderScan(b *testing.B) {
	for _, lines := range []int{100, 10_000} {
		text := []byte(strings.Repeat("X: y\r\n", lines))
		b.Run(fmt.Sprint(lines), func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				h := headerScan{limits: &Limits{HeaderFields: 1 << 30, HeaderSize: 1 << 30, ReceivedFields: 100}}
				_ = h.scan(text)
			}
		})
	}
}

// The log's line has the first Message-ID, folded or not, and no more than the beginning of one that is endless.
func TestHeaderScanMessageID(t *testing.T) {
	limits := &Limits{HeaderFields: 200, HeaderSize: 100_000, ReceivedFields: 100}
	long := "<" + strings.Repeat("x", 1000) + ">"
	for text, want := range map[string]string{
		"Subject: x\r\nmessage-id: <1@a.example> \r\nMessage-ID: <2@a.example>\r\n\r\n": "<1@a.example>",
		"Message-ID:\r\n\t<1@a.example>\r\n <2@a.example>\r\n\r\n":                      "<1@a.example>",
		"Message-ID:\r\nMessage-ID: <2@a.example>\r\n\r\n":                              "<2@a.example>",
		"Message-ID:\r\nSubject: x\r\n y\r\n\r\n":                                       "",
		"Subject: x\r\n\r\nMessage-ID: <1@a.example>\r\n":                               "",
		"Message-ID: " + long + "\r\n\r\n":                                              long[:maxStart-len("Message-ID: ")],
	} {
		for _, piece := range []int{1, 7, len(text)} {
			h := headerScan{limits: limits}
			for rest := text; rest != ""; rest = rest[min(piece, len(rest)):] {
				if err := h.scan([]byte(rest[:min(piece, len(rest))])); err != nil {
					t.Fatal(err)
				}
			}
			if h.id != want {
				t.Errorf("%q in pieces of %d: %q, want %q", text, piece, h.id, want)
			}
		}
	}
}
