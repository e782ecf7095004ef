package running

import (
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

type hello string

func (h hello) Hello() string { return string(h) }

// The newest configuration is in charge; when it goes the one before is again.
func TestPush(t *testing.T) {
	greeting := func() string {
		s, ok := Server[interface{ Hello() string }]("a")
		if !ok {
			return "none"
		}
		return s.Hello()
	}
	want := func(what string) {
		t.Helper()
		if got := greeting(); got != what {
			t.Errorf("%q, not %q", got, what)
		}
	}
	want("none")
	first := Push(1, map[string]any{"a": hello("first")})
	want("first")
	second := Push(2, map[string]any{"a": hello("second")})
	want("second")
	if n, ok := App[int](); !ok || n != 2 {
		t.Error(n, ok)
	}
	if _, ok := App[string](); ok {
		t.Error("a number is a text")
	}
	third := Push(3, map[string]any{"b": hello("other")})
	want("none")
	third()
	want("second")
	first()
	want("second")
	second()
	want("none")
}

// A server that there is not is named with the place that names it, if that is of the configuration that is loaded.
func TestPlaceOfName(t *testing.T) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	d := caddyfile.NewTestDispenser("first\nmsa_submit b.example.org")
	for range 3 {
		d.NextArg()
		d.Next()
	}
	NamedAt(d, "b.example.org")
	for _, want := range []string{", at Testfile:2", ""} {
		err := Check(ctx, "b.example.org")
		if err == nil || want == "" && strings.Contains(err.Error(), "Testfile") || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
