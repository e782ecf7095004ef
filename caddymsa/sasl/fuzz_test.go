package sasl

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// known reports whether err has a class that a session can make a reply of.
func known(err error) bool {
	return errors.Is(err, ErrMalformed) || errors.Is(err, ErrCredentials) || errors.Is(err, ErrInitialResponse)
}

func FuzzPlain(f *testing.F) {
	for _, s := range []string{"", "\x00alice\x00secret", "alice\x00alice\x00secret", "\x00\x00", "a\x00b\x00c\x00d",
		"\x00al\u00adice\x00\u2168", "\x00\xff\x00\xfe", "\x00\u0627a\x00\U0001F511"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, response []byte) {
		called := false
		_, done, err := NewPlain(func(user, password string) error {
			called = true
			if user == "" || !utf8.ValidString(user) || hasControl([]byte(user)) {
				t.Errorf("user %q reached the callback", user)
			}
			// Passwords are as the client sent them, in whatever character set: see PasswordFunc.
			if password == "" || len(password) > 1024 || strings.Contains(password, "\x00") {
				t.Errorf("password %q reached the callback", password)
			}
			return nil
		}).Next(append([]byte{}, response...))
		if err == nil && (!done || !called || bytes.Count(response, []byte{0}) != 2) {
			t.Errorf("%q: done=%v, called=%v", response, done, called)
		}
		if err != nil && (called || !known(err)) {
			t.Errorf("%q: %v, called=%v", response, err, called)
		}
	})
}

func FuzzDirectives(f *testing.F) {
	for _, s := range []string{"", ",", `a=b`, `a="b"`, ` , a = "b\"c\\" ,, B=c/d@e `, `a="`, `a="\`, `a=`, `=b`, "a=\"\x00\"", `a="b"c`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		type pair struct{ name, value string }
		collect := func(s string) (all []pair, err error) {
			err = parseDirectives(s, func(name, value string) error {
				all = append(all, pair{name, value})
				return nil
			})
			return all, err
		}
		first, err := collect(s)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Errorf("%q: %v", s, err)
			}
			return
		}
		var b strings.Builder
		for _, p := range first {
			if p.value == absent || p.name != strings.ToLower(p.name) {
				t.Errorf("%q: %q", s, p)
			}
			b.WriteString(p.name + "=" + quote(p.value) + ",")
		}
		if second, err := collect(b.String()); err != nil || !slices.Equal(first, second) {
			t.Errorf("%q: %q, written %q, read %q, %v", s, first, b.String(), second, err)
		}
	})
}

func FuzzDigestMD5(f *testing.F) {
	f.Add(answer(nil), []byte{})
	f.Add(answer(func(m map[string]string) { m["authzid"] = "alice" }), []byte("x"))
	f.Add(answer(func(m map[string]string) { delete(m, "charset"); m["username"] = "j\xfcrgen" }), []byte{})
	f.Add(answer(func(m map[string]string) { m["digest-uri"] = "smtp/[2001:db8::1]/x"; m["raw"] = `,x="\"` }), []byte{})
	f.Add([]byte(`username=alice,nonce=x,nc=00000001`), []byte{})
	f.Fuzz(func(t *testing.T, response, last []byte) {
		config := digestTest()
		matched := false
		config.Verify = func(r *DigestResponse) error {
			if !utf8.ValidString(r.User) || !utf8.ValidString(r.Realm) || !slices.Contains(config.Realms, r.Realm) {
				t.Errorf("user %q, realm %q reached Verify", r.User, r.Realm)
			}
			matched = r.MatchesPassword("secret")
			return nil
		}
		s := NewDigestMD5(config)
		if _, _, err := s.Next(nil); err != nil {
			t.Fatal(err)
		}
		challenge, done, err := s.Next(response)
		if done || (err == nil) != matched || err != nil && !known(err) {
			t.Fatalf("%q: %q, done=%v, matched=%v, %v", response, challenge, done, matched, err)
		}
		if _, done, lastErr := s.Next(last); done != (err == nil && len(last) == 0) || !done && !known(lastErr) {
			t.Errorf("%q then %q: done=%v, %v", response, last, done, lastErr)
		}
	})
}

func FuzzSCRAM(f *testing.F) {
	f.Add([]byte(vectorFirst), []byte(vectorFinal), false)
	f.Add([]byte("p=tls-exporter,,n=user,r=abc"), []byte("c=cD10bHMtZXhwb3J0ZXIsLA==,r=abc,p=AAAA"), true)
	f.Add([]byte("y,a=user,n=us=2Cer,r=abc,x=y"), []byte("c=,r=,p="), false)
	f.Add([]byte("n,,m=x,n=,r="), []byte(",,,"), false)
	f.Fuzz(func(t *testing.T, first, final []byte, plus bool) {
		lookup := fuzzUsers
		s := vectorServerOf(SCRAMConfig{Lookup: lookup, Plus: plus, Binding: []byte("binding"), PlusAnnounced: plus})
		challenge, done, err := s.Next(append([]byte{}, first...))
		if done || (err == nil) != bytes.HasPrefix(challenge, []byte("r=")) || err != nil && !known(err) {
			t.Fatalf("%q: %q, done=%v, %v", first, challenge, done, err)
		}
		if bytes.HasPrefix(challenge, []byte("e=")) {
			t.Errorf("%q: %q", first, challenge)
		}
		challenge, done, err = s.Next(append([]byte{}, final...))
		if done || err != nil && !known(err) {
			t.Fatalf("%q, %q: done=%v, %v", first, final, done, err)
		}
		if err == nil && (s.user != "user" || !bytes.HasPrefix(challenge, []byte("v="))) {
			t.Errorf("%q, %q let %q in", first, final, s.user)
		}
	})
}

// fuzzUsers is scramUsers without its cost.
var fuzzUsers = func() func(string) (SCRAMCredential, error) {
	credential, err := NewSCRAMCredential("pencil", []byte("\x5b\x6d\x99\x68\x9d\x12\x35\x8e\xec\xa0\x4b\x14\x12\x36\xfa\x81"), 4096)
	return func(user string) (SCRAMCredential, error) {
		if user == "user" {
			return credential, err
		}
		return SCRAMCredential{}, ErrCredentials
	}
}()

func FuzzDigestChallenge(f *testing.F) {
	for _, s := range []string{`nonce="n",algorithm=md5-sess`, `realm="a",realm=b,nonce=n,qop="auth-int,auth",charset=utf-8,algorithm=md5-sess`, ``} {
		f.Add([]byte(s), []byte("rspauth="))
	}
	f.Fuzz(func(t *testing.T, challenge, end []byte) {
		c := NewDigestMD5Client("alice", "secret", "", "mail.example.org")
		response, err := c.Next(challenge)
		if err != nil {
			return
		}
		if err := parseDirectives(string(response), func(_, _ string) error { return nil }); err != nil {
			t.Errorf("%q: sends %q: %v", challenge, response, err)
		}
		if _, err := c.Next(end); err == nil {
			t.Errorf("believed %q", end)
		}
	})
}
