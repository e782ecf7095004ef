package mapfile

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	logged "go.uber.org/zap/zaptest/observer"

	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
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
		"a@b.example":                                      ":1: a logical and an actual",
		"\na@b.example c@d.example e":                      ":2: a logical and an actual",
		"a c@d.example":                                    ":1: a is no address",
		"a@b.example c@d_.example..":                       ":1: c@d_.example..",
		"@b.example c@d.example":                           ":1: a domain stands for a domain",
		"a@b.example c@d.example\na@B.example x@y.example": ":2: a@B.example stands here a second time",
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
		if err := os.WriteFile(m.path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(m.path+".new", m.path); err != nil {
			t.Fatal(err)
		}
	}
	write("xyz@otpnet.nl new@xyz.nl\n")
	for deadline := time.Now().Add(20 * time.Second); ask(t, m.Actual, "xyz@otpnet.nl") != "new@xyz.nl"; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it was not read again")
		}
	}
	write("nonsense\n")
	m.reload()
	if got := ask(t, m.Actual, "xyz@otpnet.nl"); got != "new@xyz.nl" {
		t.Error(got)
	}
}

// An output that is a key again is not translated again, which may surprise.
func TestKeyAgain(t *testing.T) {
	core, logs := logged.New(zap.WarnLevel)
	m := &File{path: filepath.Join(t.TempDir(), "map"), log: zap.New(core)}
	if err := os.WriteFile(m.path, []byte("a@x.example b@x.example\nb@x.example c@x.example\nd@x.example d@x.example\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := m.load(); err != nil {
		t.Fatal(err)
	}
	if n := logs.Len(); n != 1 || logs.All()[0].ContextMap()["address"] != "b@x.example" {
		t.Errorf("%d warnings: %v", n, logs.All())
	}
}

func FuzzRead(f *testing.F) {
	f.Add(text)
	f.Add("@a @b\n#\n\x00 \xff")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := read(strings.NewReader(text), "f")
		if err != nil {
			return
		}
		for key := range m.actual {
			if address := key; !strings.HasPrefix(address, "@") {
				continue
			} else if a, err := mailaddr.Parse("local"+address, true); err == nil {
				if to, ok := find(m.actual, a); !ok || !strings.Contains(to, "@") {
					t.Errorf("%s: %q", key, to)
				}
			}
		}
	})
}

func BenchmarkActual(b *testing.B) {
	var all strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&all, "user%d@otpnet.nl user%d@xyz.nl\n", i, i)
	}
	t, err := read(strings.NewReader(all.String()), "f")
	if err != nil {
		b.Fatal(err)
	}
	a, _ := mailaddr.Parse("user77777@otpnet.nl", true)
	for b.Loop() {
		if _, ok := find(t.actual, a); !ok {
			b.Fatal("not found")
		}
	}
}
