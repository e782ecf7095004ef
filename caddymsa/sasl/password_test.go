package sasl

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// PLAIN.
func TestPlain(t *testing.T) {
	for _, test := range []struct {
		name, response string
		want           error
	}{
		{"right", "\x00alice\x00secret", nil},
		{"same authzid", "alice\x00alice\x00secret", nil},
		{"wrong password", "\x00alice\x00Secret", ErrCredentials},
		{"unknown user", "\x00bob\x00secret", ErrCredentials},
		{"other authzid", "bob\x00alice\x00secret", ErrCredentials},
		{"prefix authzid", "alic\x00alice\x00secret", ErrCredentials},
		{"authzid not UTF-8", "\xff\x00alice\x00secret", ErrCredentials},
		{"SASLprep maps", "\x00al\u00adice\x00\u2168ecret", ErrCredentials}, // password IXecret
		{"soft hyphen", "\x00al\u00adice\x00secret", nil},
		{"full width", "\x00ａｌｉｃｅ\x00secret", nil},
		{"not UTF-8", "\x00alice\x00secr\xe9t", ErrCredentials},
		{"prohibited", "\x00alice\x00secret\x07", ErrCredentials},
		{"nothing left", "\x00\u00ad\x00secret", ErrCredentials},
		{"empty", "", ErrMalformed},
		{"no NUL", "alice secret", ErrMalformed},
		{"one NUL", "alice\x00secret", ErrMalformed},
		{"three NULs", "\x00alice\x00sec\x00ret", ErrMalformed},
		{"NUL at the end", "\x00alice\x00secret\x00", ErrMalformed},
		{"no user", "\x00\x00secret", ErrMalformed},
		{"no password", "\x00alice\x00", ErrMalformed},
		{"only NULs", "\x00\x00", ErrMalformed},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := passwords{user: "alice", password: "secret"}
			for _, initial := range []bool{true, false} {
				s := NewPlain(p.check)
				steps := [][]byte{[]byte(test.response)}
				if !initial {
					steps = [][]byte{nil, []byte(test.response)}
				}
				_, done, err := say(t, s, steps...)
				if !errors.Is(err, test.want) || err == nil && !done {
					t.Errorf("initial=%v: done=%v, error %v, want %v", initial, done, err, test.want)
				}
				wantOver(t, s)
			}
		})
	}
}

// What the user types is what is checked, and what SASLprep makes of it: one guess.
func TestPasswordForms(t *testing.T) {
	for typed, prepared := range map[string]string{"secret": "", "m²pass": "m2pass", "cafe\u0301": "café", "nb\u00a0sp": "nb sp", "½x": "1⁄2x", "café": "", "secr\xe9t": "", "bell\x07": "", "😀": ""} {
		want := []string{typed}
		if prepared != "" {
			want = append(want, prepared)
		}
		if got := PasswordForms(typed); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", typed, got, want)
		}
		p := passwords{user: "alice", password: typed}
		if _, _, err := say(t, NewPlain(p.check), []byte("\x00al\u00adice\x00"+typed)); err != nil || len(p.asked) != 1 {
			t.Errorf("PLAIN with %q: %v, asked %q", typed, err, p.asked)
		}
		p.asked = nil
		if _, _, err := say(t, NewLogin(p.check), nil, []byte("alice"), []byte(typed)); err != nil || len(p.asked) != 1 {
			t.Errorf("LOGIN with %q: %v, asked %q", typed, err, p.asked)
		}
	}
	if got, want := PasswordForms("m²e\u0301"), []string{"m²e\u0301", "m2é", "m²é"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	p := passwords{user: "alice", password: "secret"}
	if _, _, err := say(t, NewPlain(p.check), []byte("\x00alice\x00"+strings.Repeat("x", maxText+1))); !errors.Is(err, ErrCredentials) || len(p.asked) > 0 {
		t.Error("a password of any length is checked")
	}
}

// Whoever is refused before anybody was asked is named all the same.
func TestClaimed(t *testing.T) {
	p := passwords{user: "alice", password: "secret"}
	for response, want := range map[string]string{
		"\x00alice\x00": "alice", "bob\x00alice\x00secret": "alice", "\xff\x00alice\x00secret": "alice", "\x00al\x07ice\x00secret": "al\x07ice",
		"\x00alice\x00" + strings.Repeat("x", maxText+1): "alice", "\x00\x00secret": "", "alice\x00secret": "", "\x00alice\x00sec\x00ret": "",
		"\x00bob\x00secret": "", // the callback knows
	} {
		if _, _, err := say(t, NewPlain(p.check), []byte(response)); err == nil || Claimed(err) != want {
			t.Errorf("PLAIN %.40q: %v, claimed %q, want %q", response, err, Claimed(err), want)
		}
	}
	for password, want := range map[string]string{"": "alice", "sec\x00ret": "alice", "wrong": ""} {
		if _, _, err := say(t, NewLogin(p.check), nil, []byte("alice"), []byte(password)); err == nil || Claimed(err) != want {
			t.Errorf("LOGIN %q: %v, claimed %q, want %q", password, err, Claimed(err), want)
		}
	}
}

func TestPlainAsksWithAnEmptyChallenge(t *testing.T) {
	challenge, done, err := NewPlain(nil).Next(nil)
	if challenge == nil || len(challenge) > 0 || done || err != nil {
		t.Errorf("%q, %v, %v", challenge, done, err)
	}
}

// A callback's own error must arrive as it is: it is 454, not 535.
func TestPasswordErrorsPassThrough(t *testing.T) {
	p := passwords{fail: errCannotTell}
	_, _, err := NewPlain(p.check).Next([]byte("\x00alice\x00secret"))
	if err != errCannotTell {
		t.Errorf("PLAIN: %v", err)
	}
	_, _, err = say(t, NewLogin(p.check), nil, []byte("alice"), []byte("secret"))
	if err != errCannotTell {
		t.Errorf("LOGIN: %v", err)
	}
}

// LOGIN, with and without the user name as initial response.
func TestLogin(t *testing.T) {
	p := passwords{user: "alice", password: "secret"}
	s := NewLogin(p.check)
	for i, step := range []struct {
		response  []byte
		challenge string
	}{{nil, "Username:"}, {[]byte("alice"), "Password:"}} {
		c, done, err := s.Next(step.response)
		if string(c) != step.challenge || done || err != nil {
			t.Fatalf("step %d: %q, %v, %v", i, c, done, err)
		}
	}
	if _, done, err := s.Next([]byte("secret")); !done || err != nil {
		t.Fatalf("done=%v, err=%v", done, err)
	}
	wantOver(t, s)

	if _, done, err := say(t, NewLogin(p.check), []byte("alice"), []byte("secret")); !done || err != nil {
		t.Errorf("initial response: done=%v, err=%v", done, err)
	}
	for _, test := range []struct {
		name  string
		steps []string
		want  error
	}{
		{"wrong", []string{"alice", "x"}, ErrCredentials},
		{"unknown", []string{"bob", "secret"}, ErrCredentials},
		{"not UTF-8", []string{"al\xefce", "secret"}, ErrCredentials},
		{"NUL", []string{"alice", "secret\x00"}, ErrMalformed}, // as in PLAIN: no backend is asked about it
		{"NUL in the name", []string{"alice\x00", "secret"}, ErrMalformed},
		{"empty user", []string{""}, ErrMalformed},
		{"empty password", []string{"alice", ""}, ErrMalformed},
	} {
		var responses [][]byte
		for _, r := range test.steps {
			responses = append(responses, []byte(r))
		}
		s := NewLogin(p.check)
		if _, _, err := say(t, s, responses...); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
		wantOver(t, s)
	}
}

func TestExternal(t *testing.T) {
	alice := func() (string, error) { return "alice", nil }
	for _, test := range []struct {
		name     string
		identity func() (string, error)
		response string
		want     error
	}{
		{"empty", alice, "", nil},
		{"equal", alice, "alice", nil},
		{"other", alice, "bob", ErrCredentials},
		{"NUL", alice, "alice\x00", ErrMalformed},
		{"not UTF-8", alice, "\xff", ErrMalformed},
		{"no certificate", func() (string, error) { return "", nil }, "", ErrCredentials},
		{"cannot tell", func() (string, error) { return "", errCannotTell }, "", errCannotTell},
	} {
		for _, initial := range []bool{true, false} {
			s := NewExternal(test.identity)
			steps := [][]byte{[]byte(test.response)}
			if !initial {
				steps = [][]byte{nil, []byte(test.response)}
			}
			_, done, err := say(t, s, steps...)
			if !errors.Is(err, test.want) || err == nil && !done {
				t.Errorf("%s: done=%v, error %v, want %v", test.name, done, err, test.want)
			}
			wantOver(t, s)
		}
	}
}

func TestPrepare(t *testing.T) {
	long := strings.Repeat("x", maxText)
	for _, test := range []struct{ in, query, stored string }{
		{"secret", "secret", "secret"},
		{"I\u00adX", "IX", "IX"}, // RFC 4013 section 3
		{"\u00aa", "a", "a"},
		{"\u2168", "IX", "IX"},
		{"\u0007", "", ""},
		{"\u0627\u0031", "", ""}, // mixed directions
		{"", "", ""},
		{long, long, long},
		{long + "x", "", ""},
		{"\xff", "", ""},
		{"a\x00", "", ""},
		{"pass\U0001F511", "pass\U0001F511", ""}, // RFC 4616 section 2 allows, RFC 5802 section 2.2 not
	} {
		for i, f := range []func(string) (string, error){PrepareQuery, PrepareStored} {
			want := []string{test.query, test.stored}[i]
			got, err := f(test.in)
			if got != want || (err == nil) != (want != "") {
				t.Errorf("%d: %q -> %q, %v; want %q", i, test.in, got, err, want)
			}
		}
	}
}

// No error may carry what a client sent as password.
func TestErrorsKeepSecrets(t *testing.T) {
	const secret = "hunter2"
	p := passwords{}
	servers := map[string]error{}
	_, _, servers["plain"] = NewPlain(p.check).Next([]byte("\x00alice\x00" + secret + "\x07"))
	_, _, servers["plain NUL"] = NewPlain(p.check).Next([]byte("\x00alice\x00\x00" + secret))
	_, _, servers["login"] = say(t, NewLogin(p.check), []byte("alice"), []byte(secret+"\x07"))
	for name, err := range servers {
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
