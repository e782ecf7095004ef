package names

import (
	"encoding/json"
	"testing"
)

// Names fold: the Lower@d, and what people type.
func TestFold(t *testing.T) {
	for name, want := range map[string]string{
		"lower@d.example": "lower@d.example", "Lower@D.example": "lower@d.example", "": "", "MÜLLER": "müller", "Mu\u0308ller": "müller", "ΣΑΣ": "σας", "ΝΙΚΟΣ@D.example": "νικος@d.example", "νικοσ@d": "νικος@d", "ΟΔΥΣΣΕΥΣ.Σ+Σ": "οδυσσευς.σ+σ", "ας1": "ας1", "αςβ": "ασβ", "aΣ\xffΣ": "aς\xffσ",
		"STRAẞE": "straße", "strasse": "strasse", "İK": "ik", "IK": "ik", "ık": "ık", "I\u0307k": "ik",
		"a b": "a b", "\xff\xfeA": "\xff\xfea",
	} {
		if got := Fold(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
	if !Same("Bob", "BOB") || Same("bob", "rob") || Fold("\xff") == Fold("\xfe") {
		t.Error("names that differ are the same, or the other way round")
	}
}

func TestCase(t *testing.T) {
	var s struct {
		Case Case `json:"case"`
	}
	if err := json.Unmarshal([]byte(`{"case":"exact"}`), &s); err != nil || s.Case.Key("Bob") != "Bob" {
		t.Error(s, err)
	}
	if err := json.Unmarshal([]byte(`{"case":"fold"}`), &s); err != nil || s.Case.Key("Bob") != "bob" {
		t.Error(s, err)
	}
	if err := json.Unmarshal([]byte(`{"case":"upper"}`), &s); err == nil {
		t.Error("an unknown case was taken")
	}
}

func FuzzFold(f *testing.F) {
	for _, s := range []string{"Bob", "İ", "ẞ", "K", "Å", "\u0344", "A\xff\ufffd", "ǅ", "Ω", "ΣΣ Σ.ΑΣ", "aς\u0301Σ"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		once := Fold(s)
		if again := Fold(once); again != once {
			t.Errorf("%q becomes %q, and that %q", s, once, again)
		}
	})
}
