package mapfile

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	logged "go.uber.org/zap/zaptest/observer"

	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
)

const text = `# R-18
xyz@otpnet.nl      abc@xyz.nl
second@otpnet.nl   abc@xyz.nl   # senders get the first
@sales.example     @shop.example
boss@sales.example chef@example.net
"a b"@otpnet.nl    a#b@xyz.nl
@bücher.example    @books.example
`

func open(t *testing.T, text string) (*File, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "map")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	m := &File{Path: path}
	err := m.Provision(msatest.Context(t))
	t.Cleanup(func() { _ = m.Cleanup() })
	return m, err
}

func ask(t *testing.T, f func(context.Context, mailaddr.Address) (string, bool, error), address string) string {
	t.Helper()
	a, err := mailaddr.Parse(address, true)
	if err != nil {
		t.Fatal(err)
	}
	to, ok, err := f(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		return "-"
	}
	if _, err := mailaddr.Parse(to, true); err != nil {
		t.Errorf("%s became %s: %v", address, to, err)
	}
	return to
}

func TestMap(t *testing.T) {
	m, err := open(t, text)
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]string{
		"xyz@otpnet.nl": "abc@xyz.nl", "xyz@OTPNET.NL": "abc@xyz.nl", "XYZ@otpnet.nl": "abc@xyz.nl", "second@otpnet.nl": "abc@xyz.nl", "abc@xyz.nl": "-",
		"anyone@sales.example": "anyone@shop.example", `"odd one"@sales.example`: `"odd one"@shop.example`, "boss@sales.example": "chef@example.net",
		`"a b"@otpnet.nl`: "a#b@xyz.nl", "x@xn--bcher-kva.example": "x@books.example", "nobody@example.com": "-",
	} {
		if got := ask(t, m.Actual, address); got != want {
			t.Errorf("actual of %s: %s, want %s", address, got, want)
		}
	}
	for address, want := range map[string]string{
		"abc@xyz.nl": "xyz@otpnet.nl", "anyone@shop.example": "anyone@sales.example", "chef@example.net": "boss@sales.example", "xyz@otpnet.nl": "-",
		"a#b@xyz.nl": `"a b"@otpnet.nl`, "x@books.example": "x@bücher.example",
	} {
		if got := ask(t, m.Logical, address); got != want {
			t.Errorf("logical of %s: %s, want %s", address, got, want)
		}
	}
}

func TestMistakes(t *testing.T) {
	for in, want := range map[string]string{
		"a@b.example":                                      ":1: expected a logical and an actual",
		"\na@b.example c@d.example e":                      ":2: expected a logical and an actual",
		"a c@d.example":                                    ":1: a is not an address",
		"a@b.example c@d_.example..":                       ":1: c@d_.example..",
		"@b.example c@d.example":                           ":1: a domain stands for a domain",
		"a@b.example c@d.example\na@B.example x@y.example": ":2: a@B.example is specified twice, first in line 1",
		"@b..example @c.example":                           ":1: @b..example",
	} {
		if _, err := open(t, in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", in, err, want)
		}
	}
	if err := (&File{Path: "/nowhere/map"}).Provision(msatest.Context(t)); err == nil {
		t.Error("no error")
	}
}

// Changes count at once; a file that is broken leaves what was there.
func TestReload(t *testing.T) {
	m, err := open(t, text)
	if err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(m.Path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(m.Path+".new", m.Path); err != nil {
			t.Fatal(err)
		}
	}
	write("xyz@otpnet.nl new@xyz.nl\n")
	for deadline := time.Now().Add(2 * time.Minute); ask(t, m.Actual, "xyz@otpnet.nl") != "new@xyz.nl"; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it was not read again")
		}
	}
	write("nonsense\n")
	if err := m.file.Reload(); err == nil {
		t.Error("no error")
	}
	if got := ask(t, m.Actual, "xyz@otpnet.nl"); got != "new@xyz.nl" {
		t.Error(got)
	}
}

// An output that is a key again is not translated again, which may surprise.
func TestKeyAgain(t *testing.T) {
	var all strings.Builder
	all.WriteString("a@x.example b@x.example\nb@x.example c@x.example\nd@x.example d@x.example\n")
	for i := range 30 {
		fmt.Fprintf(&all, "a%d@x.example b@x.example\n", i)
	}
	table, err := read(strings.NewReader(all.String()), "f", 0, names.Folded)
	if err != nil || len(table.again) != maxAgain || table.moreAgain != 21 || table.again[0] != "b@x.example" {
		t.Fatalf("%+v, %v", table, err)
	}
	core, logs := logged.New(zap.WarnLevel)
	(&File{log: zap.New(core)}).warn(table)
	if n := logs.Len(); n != maxAgain || logs.All()[0].ContextMap()["address"] != "b@x.example" {
		t.Errorf("%d warnings: %v", n, logs.All())
	}
}

// With case exact, capitals of local parts tell addresses apart, and those of domains do not.
func TestCaseExact(t *testing.T) {
	path := filepath.Join(t.TempDir(), "map")
	if err := os.WriteFile(path, []byte("Bob@otpnet.nl one@xyz.nl\nbob@otpnet.nl Two@xyz.nl\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m := &File{Path: path, Case: names.Exact}
	if err := m.Provision(msatest.Context(t)); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Cleanup() }()
	for address, want := range map[string]string{"Bob@OTPNET.nl": "one@xyz.nl", "bob@otpnet.nl": "Two@xyz.nl", "BOB@otpnet.nl": "-", "Bob+x@otpnet.nl": "one+x@xyz.nl"} {
		if got := ask(t, m.Actual, address); got != want {
			t.Errorf("actual of %s: %s, want %s", address, got, want)
		}
	}
	for address, want := range map[string]string{"Two@xyz.nl": "bob@otpnet.nl", "two@xyz.nl": "-"} {
		if got := ask(t, m.Logical, address); got != want {
			t.Errorf("logical of %s: %s, want %s", address, got, want)
		}
	}
	if err := (&File{Path: path}).Provision(msatest.Context(t)); err == nil || !strings.Contains(err.Error(), "bob@otpnet.nl is specified twice") {
		t.Error("without case exact the names are alike:", err)
	}
}

// Plus-addresses of a mapped address go with it, tag and all, whatever a rule for the domain says.
func TestPlus(t *testing.T) {
	m, err := open(t, text)
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]string{
		"xyz+x@otpnet.nl": "abc+x@xyz.nl", "XYZ+X+y@otpnet.nl": "abc+X+y@xyz.nl", "boss+x@sales.example": "chef+x@example.net", "other+x@sales.example": "other+x@shop.example",
		`"a b+c d"@otpnet.nl`: `"a#b+c d"@xyz.nl`, "nobody+x@otpnet.nl": "-", "xyz+@otpnet.nl": "abc+@xyz.nl",
	} {
		if got := ask(t, m.Actual, address); got != want {
			t.Errorf("actual of %s: %s, want %s", address, got, want)
		}
	}
	for address, want := range map[string]string{"abc+news@xyz.nl": "xyz+news@otpnet.nl", "chef+x@example.net": "boss+x@sales.example", "who+x@shop.example": "who+x@sales.example"} {
		if got := ask(t, m.Logical, address); got != want {
			t.Errorf("logical of %s: %s, want %s", address, got, want)
		}
	}
}

// A tag that makes an actual address too long is not the map's to answer for: who asks goes on with the address without it, and says
// that it cannot have one. It is not the domain's address either.
func TestTagTooLong(t *testing.T) {
	m, err := open(t, "xyz@otpnet.nl "+strings.Repeat("a", 60)+"@xyz.nl\n@otpnet.nl @other.nl\n")
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]string{"xyz+1234@otpnet.nl": "-", "xyz+123@otpnet.nl": strings.Repeat("a", 60) + "+123@xyz.nl"} {
		if got := ask(t, m.Actual, address); got != want {
			t.Errorf("actual of %s: %s, want %s", address, got, want)
		}
	}
}

// What editors leave in a file is read as it is meant.
func TestEditors(t *testing.T) {
	m, err := open(t, "\ufeffxyz@otpnet.nl\u00a0abc@xyz.nl\r\nq@otpnet.nl,  r@xyz.nl,\r\n")
	if err != nil {
		t.Fatal(err)
	}
	if a, b := ask(t, m.Actual, "xyz@otpnet.nl"), ask(t, m.Actual, "q@otpnet.nl"); a != "abc@xyz.nl" || b != "r@xyz.nl" {
		t.Error(a, b)
	}
}

// A million lines take less than 200 MiB, reading and the same file in the next configuration included.
func TestMillion(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a second or two")
	}
	path := filepath.Join(t.TempDir(), "map")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(f)
	for i := range 1_000_000 {
		fmt.Fprintf(w, "logical.user%d@otpnet.example actual.user%d@department.example\n", i, i)
	}
	if err := errors.Join(w.Flush(), f.Close(), os.Chtimes(path, time.Unix(1, 0), time.Unix(1, 0))); err != nil {
		t.Fatal(err)
	}
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse
	}
	before := heap()
	began := time.Now()
	m := &File{Path: path}
	if err := m.Provision(msatest.Context(t)); err != nil {
		t.Fatal(err)
	}
	loaded := time.Since(began)
	var peak runtime.MemStats
	runtime.ReadMemStats(&peak)
	after := heap()
	began = time.Now()
	for range 10 {
		next := &File{Path: path}
		if err := next.Provision(msatest.Context(t)); err != nil {
			t.Fatal(err)
		}
		if err := m.Cleanup(); err != nil {
			t.Fatal(err)
		}
		m = next
	}
	again := time.Since(began) / 10
	last := heap()
	t.Logf("loaded in %v, %d MiB, at most %d MiB; again in %v, %d MiB", loaded, (after-before)>>20, (peak.HeapInuse-before)>>20, again, (last-before)>>20)
	if after-before > 200<<20 || peak.HeapInuse-before > 200<<20 || last-before > (after-before)+(16<<20) {
		t.Error("too much memory")
	}
	if again > loaded/4 {
		t.Error("a reload reads the file again")
	}
	if got := ask(t, m.Actual, "logical.user777777@otpnet.example"); got != "actual.user777777@department.example" {
		t.Error(got)
	}
	if err := m.Cleanup(); err != nil {
		t.Error(err)
	}
}

// What is quickly known to be a key is one.
func FuzzIsKey(f *testing.F) {
	for _, word := range []string{"a@b.example", "a-b.c@d-e.example", "a@b", "a@b1.example", "a--b@c.example", "a@xn--bcher-kva.example", "a@b.1", "a@b.example1", "a@" + strings.Repeat("a", 60) + "-" + strings.Repeat("b", 10) + ".example"} {
		f.Add(word)
	}
	f.Fuzz(func(t *testing.T, word string) {
		if !isKey([]byte(word)) {
			return
		}
		if a, err := mailaddr.Parse(word, true); err != nil || a.Key() != word {
			t.Errorf("%q: %v, %v", word, a, err)
		}
	})
}

func FuzzRead(f *testing.F) {
	f.Add(text)
	f.Add("@a @b\n#\n\x00 \xff")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := read(strings.NewReader(text), "f", int64(len(text)), names.Folded)
		if err != nil {
			return
		}
		for i := 0; i < len(m.text); {
			p, next := m.at(i)
			i = next
			if to, ok := m.find(false, string(p.logicalKey)); !ok || to != string(p.actual) {
				t.Errorf("%s: %q", p.logicalKey, to)
			}
			if to, ok := m.find(true, string(p.actualKey)); !ok || !strings.Contains(to, "@") {
				t.Errorf("%s: %q", p.actualKey, to)
			}
		}
	})
}

func BenchmarkActual(b *testing.B) {
	var all strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&all, "user%d@otpnet.nl user%d@xyz.nl\n", i, i)
	}
	t, err := read(strings.NewReader(all.String()), "f", int64(all.Len()), names.Folded)
	if err != nil {
		b.Fatal(err)
	}
	a, _ := mailaddr.Parse("user77777@otpnet.nl", true)
	for b.Loop() {
		if _, ok := t.translate(false, a); !ok {
			b.Fatal("not found")
		}
	}
}
