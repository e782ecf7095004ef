package message

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/textproto"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// repeated is a message of any size that is nowhere in memory.
type repeated struct {
	head, unit, tail string
	times            int
}

func (r repeated) open() io.Reader {
	return io.MultiReader(strings.NewReader(r.head), &cycle{unit: r.unit, left: r.times * len(r.unit)}, strings.NewReader(r.tail))
}

type cycle struct {
	unit     string
	at, left int
}

func (c *cycle) Read(p []byte) (n int, err error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	for n < len(p) && c.left > 0 {
		m := copy(p[n:min(len(p), n+c.left)], c.unit[c.at:])
		c.at = (c.at + m) % len(c.unit)
		c.left -= m
		n += m
	}
	return n, nil
}

const bombHead = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"

// Messages made to cost their reader.
var bombs = map[string]struct {
	repeated
	limit string // that is gone over; empty: none
}{
	"parts":           {repeated{bombHead, "--b\r\n\r\n", "--b--\r\n", 500_000}, "parts"},
	"deep":            {repeated{bombHead, "--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n", "", 10_000}, "parts"},
	"deep messages":   {repeated{"", "Content-Type: message/rfc822\r\n\r\n", "x", 10_000}, "levels of parts"},
	"end boundaries":  {repeated{bombHead + "--b\r\n\r\n", "--b--\r\n", "", 500_000}, ""},
	"like boundaries": {repeated{bombHead + "--b\r\n\r\n", "--bb\r\n", "--b--\r\n", 500_000}, ""},
	"hyphens":         {repeated{bombHead + "--b\r\n\r\n", "--", "\r\n--b--\r\n", 2_000_000}, ""},
	"part header":     {repeated{bombHead + "--b\r\n", "X: y\r\n", "", 500_000}, "octets in the header of a part"},
	"part headers":    {repeated{bombHead, "--b\r\nX: " + strings.Repeat("y", 60_000) + "\r\n\r\n", "", 100}, "octets in the headers of parts"},
	"one field":       {repeated{"Content-Type: a/b", "; c", "", 100_000}, "octets in header field Content-Type"},
	"folded field":    {repeated{"Content-Type: a/b", ";\r\n\tc=d", "", 100_000}, "octets in header field Content-Type"},
	"empty lines":     {repeated{bombHead, "\r\n", "", 2_000_000}, ""},
	"base64 padding":  {repeated{"MIME-Version: 1.0\r\nContent-Transfer-Encoding: base64\r\n\r\n", "====\r\n", "", 500_000}, ""},
	"quoted space":    {repeated{"MIME-Version: 1.0\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n", " ", "x", 5_000_000}, ""},
}

func TestBombs(t *testing.T) {
	for name, c := range bombs {
		t.Run(name, func(t *testing.T) {
			grown := allocated(func() {
				_, err := WalkReader(context.Background(), c.open(), Limits{}, func(_ *Part, body io.Reader) error {
					_, err := io.Copy(io.Discard, body)
					return err
				})
				over, _ := errors.AsType[*LimitError](err)
				switch {
				case c.limit == "" && err != nil:
					t.Error(err)
				case c.limit != "" && (over == nil || over.What != c.limit):
					t.Errorf("%v, want too many %s", err, c.limit)
				}
			})
			if grown > 4<<20 {
				t.Errorf("%d octets were allocated", grown)
			}
		})
	}
}

// Each multipart in another has its own boundary, as many levels as there may be.
func TestDepthLimit(t *testing.T) {
	if _, err := WalkReader(context.Background(), strings.NewReader(deep(DefaultDepth, "x")), Limits{}, nil); err != nil {
		t.Error(err)
	}
	_, err := WalkReader(context.Background(), strings.NewReader(deep(10_000, "x")), Limits{}, nil)
	if over, ok := errors.AsType[*LimitError](err); !ok || over.What != "levels of parts" || over.Max != DefaultDepth {
		t.Error(err)
	}
	s, err := WalkReader(context.Background(), strings.NewReader(deep(1_000, "x")), Limits{Depth: 20_000, Parts: 20_000}, nil)
	if err != nil || s.MaxDepth != 1_000 {
		t.Error(err)
	}
}

// deep nests multiparts around a text.
func deep(levels int, text string) string {
	var b, end strings.Builder
	for i := range levels {
		fmt.Fprintf(&b, "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b%06d\r\n\r\n--b%06d\r\n", i, i)
		fmt.Fprintf(&end, "\r\n--b%06d--", levels-1-i)
	}
	return b.String() + "\r\n" + text + end.String() + "\r\n"
}

// A message of 50 MiB costs no more memory than a small one.
func TestMemoryIsConstant(t *testing.T) {
	line := strings.Repeat("QUJD", 19) + "\r\n"
	r := repeated{bombHead + "--b\r\nContent-Transfer-Encoding: base64\r\n\r\n", line, "--b--\r\n", 50 << 20 / len(line)}
	if grown := allocated(func() {
		s, err := WalkReader(context.Background(), r.open(), Limits{}, nil)
		if err != nil || s.Defects != 0 || s.Parts[1].DecodedSize != int64(r.times*57) {
			t.Error(s, err)
		}
	}); grown > 64<<10 {
		t.Errorf("%d octets were allocated", grown)
	}
}

// allocated is how many octets f allocates, freed or not.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func BenchmarkParts(b *testing.B) {
	line := strings.Repeat("QUJD", 19) + "\r\n"
	for name, r := range map[string]repeated{
		"4KiB":  {bombHead + "--b\r\n\r\ntext\r\n--b\r\nContent-Transfer-Encoding: base64\r\n\r\n", line, "--b--\r\n", 4 << 10 / len(line)},
		"20MiB": {bombHead + "--b\r\n\r\ntext\r\n--b\r\nContent-Transfer-Encoding: base64\r\n\r\n", line, "--b--\r\n", 20 << 20 / len(line)},
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(r.times * len(line)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := WalkReader(context.Background(), r.open(), Limits{}, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkDepth shows why the walk is our own: with a reader of the library's in another, the
// time goes up with the depth.
func BenchmarkDepth(b *testing.B) {
	text := strings.Repeat(strings.Repeat("x", 76)+"\r\n", 1<<20/78)
	for _, levels := range []int{1, 20} {
		raw := deep(levels, text)
		b.Run(fmt.Sprintf("ours/%d", levels), func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				if _, err := WalkReader(context.Background(), strings.NewReader(raw), Limits{}, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("library/%d", levels), func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				if n, err := nestedReaders(strings.NewReader(raw)); err != nil || n < int64(len(text)) {
					b.Fatal(n, err)
				}
			}
		})
	}
}

// nestedReaders counts the octets of a message's parts with mime/multipart.
func nestedReaders(r io.Reader) (int64, error) {
	tp := textproto.NewReader(bufio.NewReader(r))
	header, err := tp.ReadMIMEHeader()
	if err != nil {
		return 0, err
	}
	return nestedPart(header.Get("Content-Type"), tp.R)
}

func nestedPart(contentType string, r io.Reader) (total int64, err error) {
	t, params, _ := mime.ParseMediaType(contentType)
	if !isMultipart(t) {
		return io.Copy(io.Discard, r)
	}
	mr := multipart.NewReader(r, params["boundary"])
	for {
		p, err := mr.NextRawPart()
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
		n, err := nestedPart(p.Header.Get("Content-Type"), p)
		total += n
		if err != nil {
			return total, err
		}
	}
}

// Whatever comes is walked through, and what the library reads of a message without defects, the
// walk reads too.
func FuzzWalk(f *testing.F) {
	f.Add([]byte(crlf(mixed)))
	f.Add([]byte(deep(5, "text")))
	for _, c := range bombs {
		c.times = 3
		b, _ := io.ReadAll(c.open())
		f.Add(b)
	}
	for _, s := range []string{
		"MIME-Version: 1.0\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\na=3D=\r\n= \r\n=4",
		"MIME-Version: 1.0\r\nContent-Transfer-Encoding: base64\r\n\r\nYW=\r\nJj=Y",
		"Content-Disposition: a; filename*=iso-8859-1''%E9; filename*0*=x''y; filename=\"=?utf-8?q?=00?=\"\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var sizes int64
		s, err := WalkReader(context.Background(), bytes.NewReader(raw), Limits{Parts: 50}, func(p *Part, body io.Reader) error {
			n, err := io.Copy(io.Discard, body)
			sizes += n
			return err
		})
		if err != nil {
			if _, ok := errors.AsType[*LimitError](err); !ok && !errors.Is(err, ErrHeaderTooLong) {
				t.Fatal(err)
			}
			return
		}
		// The structure is the same to those who do not read the bodies, and in whatever
		// portions the message comes.
		again, err := WalkReader(context.Background(), &slow{r: bytes.NewReader(raw)}, Limits{Parts: 50}, nil)
		if err != nil || outline(again) != outline(s) || again.Defects != s.Defects {
			t.Fatalf("%v\n%s\n%s", err, outline(s), outline(again))
		}
		var total, decoded int64
		for i, p := range s.Parts {
			total += p.Size
			decoded += p.DecodedSize
			if p.Parent >= i || i > 0 && p.Depth != s.Parts[p.Parent].Depth+1 || p.Depth > s.MaxDepth || p.Size < 0 {
				t.Fatalf("%+v", p)
			}
			for _, name := range p.FileNames {
				if clean(name) != name {
					t.Fatalf("%q", name)
				}
			}
		}
		if total > int64(len(raw)) || decoded != sizes {
			t.Fatalf("parts of %d octets in %d; %d and %d decoded", total, len(raw), decoded, sizes)
		}
		if s.Defects != 0 || !onlyCRLF(raw) || slices.ContainsFunc(s.Parts, func(p Part) bool { return p.Container && !isMultipart(p.Type) }) {
			return
		}
		if theirs, err := nestedReaders(bytes.NewReader(raw)); err == nil && theirs != total {
			t.Fatalf("the library reads %d octets, we %d: %s", theirs, total, outline(s))
		}
	})
}

// onlyCRLF tells whether a message is one that the server takes by default.
func onlyCRLF(raw []byte) bool {
	rest := bytes.ReplaceAll(raw, []byte("\r\n"), nil)
	return !bytes.ContainsAny(rest, "\r\n\x00")
}

// slow gives an octet or two at a time.
type slow struct {
	r io.Reader
	n int
}

func (s *slow) Read(p []byte) (int, error) {
	s.n++
	return s.r.Read(p[:min(len(p), 1+s.n%2)])
}
