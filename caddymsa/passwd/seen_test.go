package passwd

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
)

func made(t testing.TB, name string, fields ...string) *User {
	t.Helper()
	u, err := NewUser(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fields {
		if err := u.AddPassword(f); err != nil {
			t.Fatal(err)
		}
	}
	return &u
}

func key(t testing.TB, rounds int) string {
	t.Helper()
	c, err := Generate("SCRAM-SHA-256", "x", "secret", Options{Rounds: rounds})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// what an unknown name is checked against is what real users have, as often as they have it.
func TestSeen(t *testing.T) {
	ctx, from, secret := context.Background(), netip.MustParseAddr("127.0.0.1"), []byte("secret")
	s := NewSeen(made(t, "decoy", "{SSHA}sXFu0YXKvRkZ7FNrvxdNYL6hA2hzYWx0", key(t, 4096)))
	profile := func(name string) string { return passwordCost(s.now().decoy(secret, name)) }
	if p := profile("nobody"); p != "SHA1,"+passwordCost(made(t, "x", key(t, 4096))) {
		t.Error("before anybody was seen:", p)
	}
	hash, err := Generate("SHA512-CRYPT", "x", "secret", Options{Rounds: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		u := made(t, fmt.Sprint("user", i), hash)
		if i >= 75 {
			u = made(t, fmt.Sprint("user", i), "{PLAIN}secret")
		}
		for range 3 { // who comes often does not count for more
			if got, err := s.Check(ctx, secret, u.Name, u, "secret", from); err != nil || got != u {
				t.Fatal(u.Name, err)
			}
		}
	}
	count := func() map[string]int {
		n := map[string]int{}
		for i := range 1000 {
			n[profile(fmt.Sprint("nobody", i))]++
		}
		return n
	}
	if n := count(); n["SHA512-CRYPT 1000"] < 700 || n["SHA512-CRYPT 1000"] > 800 || n["PLAIN"] != 1000-n["SHA512-CRYPT 1000"] {
		t.Error("of 75 and 25 users:", n)
	}
	before := profile("nobody")
	if _, err := s.Check(ctx, secret, "nobody", nil, "secret", from); err != nil || profile("nobody") != before {
		t.Error("an unknown name counts:", err)
	}
	off := made(t, "off", "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=")
	off.Disabled = true
	if u, err := s.Check(ctx, secret, "off", off, "secret", from); u != nil || err != nil || count()["SHA1"] > 0 {
		t.Error("a disabled user counts:", u, err)
	}
	// The others get a better hash.
	for i := 75; i < 100; i++ {
		u := made(t, fmt.Sprint("user", i), hash)
		_, _ = s.Check(ctx, secret, u.Name, u, "wrong", from)
	}
	if n := count(); n["SHA512-CRYPT 1000"] != 1000 {
		t.Error("after a migration:", n)
	}
}

// A decoy's key looks like those of real users, and stays the same.
func TestSeenSCRAM(t *testing.T) {
	from, secret := netip.MustParseAddr("127.0.0.1"), []byte("secret")
	s := NewSeen(made(t, "decoy", key(t, 4096)))
	if k, u, err := s.SCRAM(secret, "nobody", nil, from); err != nil || u != nil || k.Iterations != 4096 || len(k.Salt) != 16 {
		t.Error(k, u, err)
	}
	alice := made(t, "alice", key(t, 10000))
	if k, u, err := s.SCRAM(secret, "alice", alice, from); err != nil || u != alice || k.Iterations != 10000 {
		t.Error(k, u, err)
	}
	k, u, err := s.SCRAM(secret, "nobody", nil, from)
	again, _, _ := s.SCRAM(secret, "nobody", nil, from)
	if err != nil || u != nil || k.Iterations != 10000 || string(k.Salt) != string(again.Salt) {
		t.Error(k, u, err)
	}
	// Who has no key looks like one who is not there.
	if _, u, err := s.SCRAM(secret, "bob", made(t, "bob", "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="), from); err != nil || u != nil {
		t.Error(u, err)
	}
}

func TestSeenIsBounded(t *testing.T) {
	s := NewSeen(made(t, "decoy", "{PLAIN}x"))
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := range MaxSeen {
				u := &User{Name: fmt.Sprint("user", i, worker%2), Credentials: made(t, "x", "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=").Credentials}
				s.add(u)
			}
		})
	}
	wg.Wait()
	if len(s.who) != MaxSeen || len(s.decoys.password) != 1 || s.decoys.password[0].weight != MaxSeen {
		t.Error(len(s.who), s.decoys.password[0].weight)
	}
	s = NewSeen(made(t, "decoy", "{PLAIN}x"))
	for i := range 2 * MaxProfiles {
		fields := make([]string, i+1)
		for j := range fields {
			fields[j] = "{PLAIN}x"
		}
		s.add(made(t, fmt.Sprint(i), fields...))
	}
	if n := len(s.decoys.password); n != MaxProfiles {
		t.Error(n, "profiles")
	}
}

func TestBuild(t *testing.T) {
	u := made(t, "a:b@example.org", "{PLAIN}with: a colon {PLAIN}two", "{PLAIN}three")
	if len(u.Credentials) != 3 {
		t.Error(len(u.Credentials))
	}
	want := ha1(u.Name, "R}: x", "secret")
	if err := u.AddHA1("R}: x", string(want[:])); err != nil || len(u.DigestHA1(u.Name, "R}: x")) != 1 || u.DigestHA1(u.Name, "R}: x")[0] != want {
		t.Error("octets:", err)
	}
	want = ha1("a:b", "example.org", "secret")
	if err := u.AddHA1("", fmt.Sprintf("%X", want)); err != nil || len(u.DigestHA1("a:b", "example.org")) != 1 {
		t.Error("hexadecimal:", err)
	}
	for what, err := range map[string]error{
		"HA1": u.AddHA1("R", "123"), "HA1 without a realm": u.AddHA1("", "zz"), "address": u.AddAddress("x"), "net": u.AddNet("300.0.0.1"), "password": u.AddPassword("{ROT13}x"),
	} {
		if err == nil {
			t.Error(what, "no error")
		}
	}
	if err := u.AddAddress("@example.net"); err != nil || len(u.Addresses) != 1 {
		t.Error(err)
	}
	if err := u.AddNet("local"); err != nil || !u.AllowLocal {
		t.Error(err)
	}
	for _, name := range []string{"", " a", "a\x00", "a\n", "\xff", string(make([]byte, 300))} {
		if _, err := NewUser(name); err == nil {
			t.Errorf("%q is a name", name)
		}
	}
}
