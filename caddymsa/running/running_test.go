package running

import "testing"

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
