package enhanced

import (
	"testing"

	"github.com/emersion/go-smtp"
)

func TestCut(t *testing.T) {
	for text, want := range map[string]struct {
		code smtp.EnhancedCode
		rest string
	}{
		"5.7.1 no":         {smtp.EnhancedCode{5, 7, 1}, "no"},
		"2.0.0":            {smtp.EnhancedCode{2, 0, 0}, ""},
		"4.999.999  x":     {smtp.EnhancedCode{4, 999, 999}, " x"},
		"5.07.001 no":      {smtp.EnhancedCode{5, 7, 1}, "no"},
		"5.1.2.3 is on it": {rest: "5.1.2.3 is on it"}, // an address
		"5.7.1: no":        {rest: "5.7.1: no"},
		"5.7.1000 no":      {rest: "5.7.1000 no"},
		"3.7.1 no":         {rest: "3.7.1 no"},
		"+5.7.1 no":        {rest: "+5.7.1 no"},
		"5.-7.1 no":        {rest: "5.-7.1 no"},
		"5.7. no":          {rest: "5.7. no"},
		"5.7 no":           {rest: "5.7 no"},
		"":                 {},
	} {
		code, rest, ok := Cut(text)
		if code != want.code || rest != want.rest || ok != (code != smtp.EnhancedCode{}) {
			t.Errorf("%q: %v, %q, %v", text, code, rest, ok)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("5.7.1")
	f.Add("4.0010.1")
	f.Fuzz(func(t *testing.T, s string) {
		code, ok := Parse(s)
		if !ok {
			return
		}
		if again, ok := Parse(String(code)); !ok || again != code {
			t.Errorf("%q: %v, then %v", s, code, again)
		}
	})
}
