package mailaddr

import "testing"

func TestTag(t *testing.T) {
	for in, want := range map[string]string{
		"ik+x@example.org": "ik@example.org x", "ik+x+y@EXAMPLE.org": "ik@EXAMPLE.org x+y", `"i k+x"@example.org`: `"i k"@example.org x`, "ik+@example.org": "ik@example.org ",
		"+x@example.org": "", "ik@example.org": "",
	} {
		a, err := Parse(in, true)
		if err != nil {
			t.Fatal(in, err)
		}
		base, tag, ok := a.CutTag()
		if got := base.Exact + " " + tag; ok != (want != "") || ok && got != want {
			t.Errorf("%s: %q, %v", in, got, ok)
		}
		if !ok {
			continue
		}
		if back, err := Parse(base.WithTag(tag).Exact, true); err != nil || !Equal(back, a) {
			t.Errorf("%s: back is %s, %v", in, back, err)
		}
	}
	a, _ := Parse("bob@example.org", false)
	if got := a.WithTag(`odd " \ one`).Exact; got != `"bob+odd \" \\ one"@example.org` {
		t.Error(got)
	}
	if got := a.WithTag("").Exact; got != "bob+@example.org" {
		t.Error(got)
	}
}
