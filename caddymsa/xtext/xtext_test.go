package xtext

import "testing"

func TestDecode(t *testing.T) {
	for s, want := range map[string]string{"": "", "plain": "plain", "a+2Bb+3D": "a+b=", "+41": "A", "+C3+A9": "é"} {
		if got, err := Decode(s); got != want || err != nil {
			t.Errorf("%q: %q, %v", s, got, err)
		}
	}
	for _, s := range []string{"+", "+4", "+zz", "+4a", "a+", "++", "+ 1"} {
		if got, err := Decode(s); err == nil {
			t.Errorf("%q: %q", s, got)
		}
	}
}

func FuzzRoundTrip(f *testing.F) {
	f.Add("a+b=c d\x00é")
	f.Add("+41")
	f.Fuzz(func(t *testing.T, s string) {
		if got, err := Decode(Encode(s)); got != s || err != nil {
			t.Errorf("%q: %q, %v", s, got, err)
		}
		_, _ = Decode(s)
	})
}
