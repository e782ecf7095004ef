package httpsubmit

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf8"

	"crypto/sha256"
)

// value reads whatever comes, as encoding/json would have it.
func (j *jsonReader) value(depth int) (v any, err error) {
	if depth > 50 {
		return nil, errDeep
	}
	first, err := j.next()
	if err != nil {
		return nil, j.failed(err)
	}
	switch first {
	case '{':
		object := make(map[string]any)
		return object, j.members(func(name string) (err error) {
			object[name], err = j.value(depth + 1)
			return err
		})
	case '[':
		list := make([]any, 0)
		err := j.list(func(int) error {
			v, err := j.value(depth + 1)
			list = append(list, v)
			return err
		})
		return list, err
	case 'n':
		_, err := j.null()
		return nil, err
	}
	return j.text(1 << 20)
}

var errDeep = errors.New("too deep")

// What this package reads is JSON, and says what encoding/json says; and what it refuses is no JSON, or one of the few
// things that it is stricter about. However the octets come, it is the same.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"a":["b",null,{}],"c":{"d":""}}`, ` [ "\u00e4\ud83d\ude00\n\/" ] `, `"\ud83d"`, `{"a":"","a":""}`, `["a",]`, `nul`, `"ä€😀"`, "\"\xff\"", `{"a" : [ ] , "b":[]}x`, `[1]`, `"\u00zz"`, `"\`, `"a\u00`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		read := func(r io.Reader) (any, error) {
			j := newJSONReader(r, func(int) error { return nil })
			v, err := j.value(0)
			if err == nil {
				err = j.end()
			}
			return v, err
		}
		got, err := read(bytes.NewReader(b))
		slowly, slowErr := read(iotest.OneByteReader(bytes.NewReader(b)))
		if !reflect.DeepEqual(got, slowly) || (err == nil) != (slowErr == nil) || err != nil && err.Error() != slowErr.Error() {
			t.Fatalf("%q: %v, %v at once and %v, %v slowly", b, got, err, slowly, slowErr)
		}
		var want any
		wantErr := json.Unmarshal(b, &want)
		switch {
		case err == nil && wantErr != nil:
			t.Fatalf("%q is read as %v, and is not JSON: %v", b, got, wantErr)
		case err == nil && !reflect.DeepEqual(got, want):
			t.Fatalf("%q is read as %v, not %v", b, got, want)
		case err == nil || wantErr != nil || errors.Is(err, errDeep):
			return
		}
		for _, strict := range []string{"specified twice", "surrogate", "UTF-8", "is not expected here, but a text", "is longer than"} {
			if strings.Contains(err.Error(), strict) {
				return
			}
		}
		t.Fatalf("%q is JSON: %v", b, err)
	})
}

// What is decoded piece by piece is what is decoded at once.
func FuzzContent(f *testing.F) {
	f.Add([]byte("x"), uint16(1))
	f.Add(bytes.Repeat([]byte("ab\x00"), 2000), uint16(4096))
	f.Fuzz(func(t *testing.T, b []byte, step uint16) {
		text, err := json.Marshal(b) // base64
		if err != nil {
			t.Fatal(err)
		}
		d := &document{spill: &spill{most: 1 << 30}}
		d.spill.buf = nil
		if len(b) > spillFrom {
			return
		}
		part, err := d.content(newJSONReader(&steps{bytes.NewReader(text), int(step) + 1}, nil))
		if err != nil {
			t.Fatal(err)
		}
		if got := d.spill.buf[part.from:part.to]; !bytes.Equal(got, b) {
			t.Fatalf("%q became %q", b, got)
		}
	})
}

// steps reads so many octets at a time.
type steps struct {
	io.Reader
	n int
}

func (s *steps) Read(p []byte) (int, error) { return s.Reader.Read(p[:min(len(p), s.n)]) }

// A character may come in pieces.
func TestCutCharacters(t *testing.T) {
	text := strings.Repeat("aä€\U0001f600", 5000)
	b, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n < 8; n++ {
		got, err := newJSONReader(&steps{bytes.NewReader(b), n}, func(int) error { return nil }).text(len(text))
		if err != nil || got != text || !utf8.ValidString(got) {
			t.Errorf("%d at a time: %d octets, %v", n, len(got), err)
		}
	}
}

// Who trickles is cut off as by SMTP, whatever is sent.
func TestTrickle(t *testing.T) {
	f, _ := serve(t)
	now := time.Unix(0, 0)
	body := &bodyReader{r: requestOf(t, iotest.OneByteReader(&endlessly{})), header: make(http.Header), control: noControl(), sum: sha256.New(), bounds: f.Bounds(), start: now,
		now: func() time.Time { now = now.Add(50 * time.Millisecond); return now }} // twice an octet
	n, err := io.Copy(io.Discard, body)
	if !errors.Is(err, errLost) || n < 500 || n > 700 { // a minute is grace
		t.Errorf("%d octets, %v", n, err)
	}
}

type endlessly struct{}

func (*endlessly) Read(p []byte) (int, error) { return copy(p, " "), nil }
