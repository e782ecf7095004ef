package msatest

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"iter"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
)

// WorstMessage is how long a message of WorstMessages is at most, in octets.
const WorstMessage = 1 << 20

// WorstMessages are messages, by what they are made of, that cost much to read for their size: many
// fields, folds, parts, boundaries, levels, parameters, comments, entities, members of archives.
func WorstMessages() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, m := range worstMessages() {
			if !yield(m.name, m.octets[:min(len(m.octets), WorstMessage)]) {
				return
			}
		}
	}
}

type worstMessage struct{ name, octets string }

var worstMessages = sync.OnceValue(func() []worstMessage {
	const from = "From: alice@example.org\r\n"
	mime := from + "MIME-Version: 1.0\r\n"
	mixed := mime + "Content-Type: multipart/mixed; boundary=b\r\n\r\n"
	fill := func(head, text, tail string) string {
		return head + strings.Repeat(text, max(0, WorstMessage-len(head)-len(tail))/len(text)) + tail
	}
	attached := func(name string, octets ...[]byte) string {
		var b strings.Builder
		b.WriteString(mixed)
		for _, o := range octets {
			b.WriteString("--b\r\nContent-Type: application/octet-stream; name=" + name + "\r\nContent-Transfer-Encoding: base64\r\n\r\n")
			b.WriteString(base64.StdEncoding.EncodeToString(o) + "\r\n")
		}
		return b.String() + "--b--\r\n"
	}
	xml := func(head, text, tail string) string {
		return fill(mime+"Content-Type: application/xml\r\n\r\n"+head, text, tail)
	}
	return []worstMessage{
		{"fields of one name", fill(from, "To: a\r\n", "\r\nx")},
		{"short fields", fill(from, "A:\r\n", "\r\nx")},
		{"fields of many names", from + numberedLines("X-%d: y\r\n") + "\r\nx"},
		{"fields that are none", fill(from, "x\r\n", "\r\nx")},
		{"senders", fill("", from, "\r\nx")},
		{"folds", fill(from+"To: a\r\n", "\t\r\n", "\r\nx")},
		{"folds of words", fill(from+"Subject: a\r\n", " b\r\n", "\r\nx")},
		{"a long line", fill(from+"Subject: ", "x", "\r\n\r\nx")},
		{"white space", fill(from+"Subject: ", " ", "x\r\n\r\nx")},
		{"mailboxes", fill("From: ", "alice@example.org,\r\n ", "alice@example.org\r\n\r\nx")},
		{"comments in From", fill("From: ", "(", "\r\n\r\nx")},
		{"quotes in From", fill("From: ", "\"\\\"\" ", "<alice@example.org>\r\n\r\nx")},
		{"groups in From", fill("From: ", "a:;", "\r\n\r\nx")},
		{"at signs in From", fill("From: ", "a@", "\r\n\r\nx")},
		{"a route in From", "From: <@" + strings.Repeat(",", 60_000) + ":alice@example.org>\r\n\r\nx"},
		{"a domain in From", "From: alice@" + numbered(0x4e00, 20_000) + ".example\r\n\r\nx"},
		{"encoded words", fill(from+"Subject: ", "=?utf-8?q?a?= ", "\r\n\r\nx")},
		{"encoded words that do not end", fill(from+"Subject: ", "=?utf-8?q?", "\r\n\r\nx")},
		{"encoded words without an end", fill(from+"Subject: ", "=?utf-8?q?a", "?=\r\n\r\nx")},
		{"encoded words that begin", fill(from+"Subject: ?=", "=?utf-8?q?a", "\r\n\r\nx")},
		{"encoded words in base64", fill(from+"Subject: ", "=?iso-2022-jp?b?GyRCRnxLXBsoQg==?=\r\n ", "\r\n\r\nx")},
		{"encoded words of no encoding", fill(from+"Subject: ", "=?utf-8?x?a ", "?=\r\n\r\nx")},
		{"question marks", fill(from+"Subject: ", "=?", "\r\n\r\nx")},
		{"parts", fill(mixed, "--b\r\n\r\n", "--b--\r\n")},
		{"parts within the limit", mixed + strings.Repeat("--b\r\n\r\n"+strings.Repeat("x", 1000)+"\r\n", 999) + "--b--\r\n"},
		{"parts with headers", mixed + strings.Repeat("--b\r\nContent-Type: text/plain; name=\"a\"\r\nContent-Disposition: attachment; filename=\"b\"\r\n"+strings.Repeat("X: y\r\n", 140)+"\r\n", 990) + "--b--\r\n"},
		{"lines that nearly are boundaries", fill(mixed+"--b\r\n\r\n", "--bx\r\n", "--b--\r\n")},
		{"long boundaries", boundaries()},
		{"levels", nested(3000)},
		{"embedded messages", fill(mime, "Content-Type: message/rfc822\r\n\r\n", "")},
		{"parameters", mixed + parameters("a%d=b;")},
		{"parameters that continue", mixed + parameters("name*%d=b;")},
		{"parameters that continue, encoded", mixed + parameters("name*%d*=iso-8859-1'x'%%e9;")},
		{"file names", mixed + parameters("filename*=utf-8''a%d;")},
		{"quotes in parameters", mixed + parameters("a%d=\"\\\"\\\"\\\"\";")},
		{"empty lines", fill(from+"\r\n", "\r\n", "")},
		{"white space in quoted-printable", fill(mime+"Content-Transfer-Encoding: quoted-printable\r\n\r\n", " ", "\r\n")},
		{"equals signs in quoted-printable", fill(mime+"Content-Transfer-Encoding: quoted-printable\r\n\r\n", "=", "\r\n")},
		{"padding in base64", fill(mime+"Content-Transfer-Encoding: base64\r\n\r\n", "=", "\r\n")},
		{"octets in base64", fill(mime+"Content-Transfer-Encoding: base64\r\n\r\n", "A", "\r\n")},
		{"XML elements", xml("<a>", "<b/>", "</a>")},
		{"XML levels", xml("", "<a>", "")},
		{"XML attributes", xml("<a ", "b='' ", "/>")},
		{"XML attributes of many names", mime + "Content-Type: application/xml\r\n\r\n<a " + numberedLines("a%d='' ") + "/>"},
		{"XML references", xml("<a>", "&amp;", "</a>")},
		{"XML digits", xml("<a>&#", "0", "65;</a>")},
		{"XML brackets", xml("<a>", "]", "</a>")},
		{"XML comments", xml("<a>", "<!---->", "</a>")},
		{"XML in one comment", xml("<!--", "- ", "--><a/>")},
		{"XML name", xml("<", "a", "/>")},
		{"XML entities", xml("<!DOCTYPE a [<!ENTITY a 'a'><!ENTITY b '", "&a;", "'>]><a>&b;</a>")},
		{"zip of many", attached("a.zip", zipOf(9_000, ""))},
		{"zip of too many", attached("a.zip", zipOf(10_500, ""))},
		{"zip of long names", attached("a.zip", zipOf(7, strings.Repeat("a", 50_000)))},
		{"zip upon zip", attached("a.zip", bytes.Repeat(zipOf(1, ""), 6000))},
		{"zip of marks", attached("a.zip", append([]byte("PK\x03\x04"), bytes.Repeat([]byte("PK\x05\x06"), 180_000)...))},
		{"tar of many", attached("a.tar", tarOf(1_400))},
		{"tgz that inflates", attached("a.tgz", inflating(700<<20))},
		{"many tgz that inflate", attached("a.tgz", many(6, inflating(100<<20))...)},
		{"many tgz of many", attached("a.tgz", many(3, compressed(tarOf(40_000)))...)},
		{"gzip of many members", attached("a.tgz", bytes.Repeat(compressed(nil), 30_000))},
		{"many gzip", attached("a.gz", many(500, compressed([]byte("text")))...)},
		{"many zip", attached("a.zip", many(500, zipOf(5, ""))...)},
	}
})

// numberedLines are so many different ones as there is room for.
func numberedLines(format string) string {
	var b strings.Builder
	for i := 0; b.Len() < WorstMessage-200; i++ {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// numbered are so many different letters.
func numbered(first rune, n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteRune(first + rune(i))
	}
	return b.String()
}

// parameters are parts whose Content-Type and Content-Disposition have as many parameters as may be.
func parameters(format string) string {
	var b strings.Builder
	for i := 0; b.Len() < 15_000; i++ {
		fmt.Fprintf(&b, format, i)
		if i%50 == 49 {
			b.WriteString("\r\n ")
		}
	}
	list := b.String()
	return strings.Repeat("--b\r\nContent-Type: text/plain;"+list+"x=y\r\nContent-Disposition: attachment;"+list+"x=y\r\n\r\n\r\n", 34) + "--b--\r\n"
}

// boundaries are multiparts in one another whose long boundaries are nearly the same, and lines that
// are nearly one.
func boundaries() string {
	const long = 900
	var b strings.Builder
	b.WriteString("From: alice@example.org\r\nMIME-Version: 1.0\r\n")
	for i := range 20 {
		text := strings.Repeat("b", long) + fmt.Sprint(100+i)
		b.WriteString("Content-Type: multipart/mixed;\r\n boundary=" + text + "\r\n\r\n--" + text + "\r\n")
	}
	b.WriteString("\r\n")
	line := "--" + strings.Repeat("b", long) + "1\r\n"
	for b.Len() < WorstMessage-len(line) {
		b.WriteString(line)
	}
	return b.String()
}

func many(n int, octets []byte) (all [][]byte) {
	for range n {
		all = append(all, octets)
	}
	return all
}

// zipOf is an archive of empty files: no library writes one as small.
func zipOf(n int, name string) []byte {
	var files, directory []byte
	le := binary.LittleEndian
	for i := range n {
		name := name + fmt.Sprint(i)
		at := len(files)
		files = append(le.AppendUint16(append(append(files, "PK\x03\x04"...), make([]byte, 22)...), uint16(len(name))), 0, 0)
		files = append(files, name...)
		directory = append(append(directory, "PK\x01\x02"...), make([]byte, 24)...)
		directory = append(le.AppendUint16(directory, uint16(len(name))), make([]byte, 12)...)
		directory = append(le.AppendUint32(directory, uint32(at)), name...)
	}
	end := append([]byte("PK\x05\x06"), make([]byte, 4)...)
	end = le.AppendUint16(le.AppendUint16(end, uint16(n)), uint16(n))
	end = append(le.AppendUint32(le.AppendUint32(end, uint32(len(directory))), uint32(len(files))), 0, 0)
	return append(append(files, directory...), end...)
}

// tarOf is an archive of empty files.
func tarOf(n int) []byte {
	var b []byte
	for i := range n {
		h := make([]byte, 512)
		copy(h, fmt.Sprintf("file%d", i))
		copy(h[124:], "00000000000")
		copy(h[257:], "ustar\x0000")
		copy(h[148:], "        ")
		sum := 0
		for _, c := range h {
			sum += int(c)
		}
		copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
		b = append(b, h...)
	}
	return append(b, make([]byte, 1024)...)
}

// inflating is a compressed archive of one file of so many octets.
func inflating(size int) []byte {
	head := tarOf(1)[:512]
	copy(head[124:], fmt.Sprintf("%011o", size))
	copy(head[148:], "        ")
	sum := 0
	for _, c := range head {
		sum += int(c)
	}
	copy(head[148:], fmt.Sprintf("%06o\x00 ", sum))
	// The compressed form of a stretch of zeros is repeated, which takes less time than compressing all.
	const stretch = 1 << 20
	var b bytes.Buffer
	b.WriteString("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff") // RFC 1952 section 2.3
	w, _ := flate.NewWriter(&b, flate.BestCompression)
	sum32 := crc32.NewIEEE()
	put := func(octets []byte) (compressed []byte) {
		before := b.Len()
		_, _ = w.Write(octets)
		_ = w.Flush()
		return bytes.Clone(b.Bytes()[before:])
	}
	zeros := make([]byte, stretch)
	put(head)
	put(zeros)
	again := put(zeros)
	for range size/stretch - 2 {
		b.Write(again)
	}
	_ = w.Close()
	_, _ = sum32.Write(head)
	for range size / stretch {
		_, _ = sum32.Write(zeros)
	}
	trailer := binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, sum32.Sum32()), uint32(len(head)+size))
	return append(b.Bytes(), trailer...)
}

func compressed(octets []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(octets)
	_ = w.Close()
	return b.Bytes()
}

// worstTime is how much time of a processor a policy may take for a message of WorstMessages, and worstWait how long it may
// take on a machine that is busy with other things.
const (
	worstTime = time.Second
	worstWait = 20 * time.Second
)

// TestWorstMessages wants a policy to judge each of WorstMessages within a second, whatever it says.
// The best of three tries counts.
func TestWorstMessages(t *testing.T, policy any) {
	t.Helper()
	if installed.Raced {
		t.Skip("the race detector takes its time")
	}
	for name, octets := range WorstMessages() {
		var took, waited time.Duration
		for range 3 {
			runtime.GC()
			s := NewSubmission("alice@example.org", "alice@example.org")
			m := NewMessage(octets)
			start, used := time.Now(), cpuTime()
			err := Submit(context.Background(), policy, s, []string{"bob@example.net"}, m)
			took, waited = cpuTime()-used, time.Since(start)
			s.End(err == nil)
			checkRefusal(t, err)
			checkPrepended(t, m.Prepended())
			if took < worstTime && waited < worstWait {
				break
			}
		}
		if took >= worstTime || waited >= worstWait {
			t.Errorf("%s: %v of a processor in %v for %d octets", name, took, waited, len(octets))
		}
	}
}

func testPolicyWorst(t *testing.T, policy any, _ []PolicyCase) { TestWorstMessages(t, policy) }
