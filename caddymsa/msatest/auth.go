package msatest

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// User is a user that a backend under test knows.
type User struct {
	Name, Password string
	// DigestUser and Realm are what a DIGEST-MD5 client says for this user; Realm
	// empty means that the backend cannot serve DIGEST-MD5 for it.
	DigestUser, Realm string
	// SCRAM tells whether the backend has a SCRAM key for the user.
	SCRAM bool
}

// Auth holds a backend to the contract of caddymsa's auth interfaces, as far as it
// implements them. The users are all that it knows.
func Auth(t *testing.T, backend any, users ...User) {
	t.Helper()
	peer := caddymsa.Peer{IP: netip.MustParseAddr("127.0.0.1"), Server: "msa.example.org", Session: "test"}
	served := false
	if b, ok := backend.(caddymsa.PasswordVerifier); ok {
		served = true
		t.Run("password", func(t *testing.T) { testPassword(t, b, peer, users) })
	}
	if b, ok := backend.(caddymsa.DigestStore); ok {
		served = true
		t.Run("digest", func(t *testing.T) { testDigest(t, b, peer, users) })
	}
	if b, ok := backend.(caddymsa.SCRAMStore); ok {
		served = true
		t.Run("scram", func(t *testing.T) { testSCRAM(t, b, peer, users) })
	}
	if b, ok := backend.(caddymsa.Lookuper); ok {
		t.Run("lookup", func(t *testing.T) { testLookup(t, b, peer, users) })
	}
	if !served {
		t.Error("the backend implements no interface that checks a proof")
	}
}

// strangers are names that no backend knows, some of which a careless one trips over.
var strangers = []string{
	"nobody@example.org", "", " ", "*", "' OR '1'='1", "'; DROP TABLE users; --", "*)(uid=*", "a\x00b", "\n", "../../etc/passwd",
	strings.Repeat("x", 1000), "\xff\xfe", "%s%n", "${env.HOME}", "{env.HOME}",
}

// refused wants ErrCredentials: the backend can tell, and says no.
func refused(t *testing.T, err error, what string) {
	t.Helper()
	if !errors.Is(err, caddymsa.ErrCredentials) {
		t.Errorf("%s: %v, want ErrCredentials", what, err)
	}
}

func testPassword(t *testing.T, b caddymsa.PasswordVerifier, peer caddymsa.Peer, users []User) {
	ctx := context.Background()
	for _, u := range users {
		for range 2 { // again, for backends with a cache
			id, err := b.VerifyPassword(ctx, peer, u.Name, u.Password)
			if err != nil || id.User == "" {
				t.Errorf("%s with the right password: %+v, %v", u.Name, id, err)
			}
			for _, wrong := range []string{"", u.Password + "x", strings.ToUpper(u.Password) + "!", u.Password + "\x00", " " + u.Password} {
				_, err = b.VerifyPassword(ctx, peer, u.Name, wrong)
				refused(t, err, u.Name+" with a wrong password")
			}
		}
		// Another spelling is the same user, or nobody where names compare exactly.
		id, err := b.VerifyPassword(ctx, peer, strings.ToUpper(u.Name), u.Password)
		if same, _ := b.VerifyPassword(ctx, peer, u.Name, u.Password); err == nil && id.User != same.User {
			t.Errorf("%s in capitals is %q, and else %q", u.Name, id.User, same.User)
		} else if err != nil {
			refused(t, err, u.Name+" in capitals")
		}
		for _, name := range strangers {
			_, err := b.VerifyPassword(ctx, peer, name, u.Password)
			refused(t, err, "an unknown name with the password of another")
		}
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			u := users[i%len(users)]
			if _, err := b.VerifyPassword(ctx, peer, u.Name, u.Password); err != nil {
				t.Error("concurrently:", err)
			}
		})
	}
	wg.Wait()
}

func testDigest(t *testing.T, b caddymsa.DigestStore, peer caddymsa.Peer, users []User) {
	ctx := context.Background()
	for _, u := range users {
		if u.Realm == "" {
			continue
		}
		candidates, err := b.DigestCredentials(ctx, peer, u.DigestUser, u.Realm)
		if err != nil {
			t.Error(err)
		}
		want, found := sasl.DigestHA1(u.DigestUser, u.Realm, u.Password), false
		for _, c := range candidates {
			found = found || c.HA1 != nil && *c.HA1 == want || c.HA1 == nil && c.Password == u.Password
			if c.Identity.User == "" {
				t.Error("a candidate without an identity")
			}
		}
		if !found {
			t.Errorf("%s in %s: none of %d candidates is the password's", u.DigestUser, u.Realm, len(candidates))
		}
		for _, name := range strangers {
			if candidates, err := b.DigestCredentials(ctx, peer, name, u.Realm); err != nil && !errors.Is(err, caddymsa.ErrCredentials) || len(candidates) > 0 {
				t.Errorf("%q: %d candidates, %v", name, len(candidates), err)
			}
		}
	}
}

func testSCRAM(t *testing.T, b caddymsa.SCRAMStore, peer caddymsa.Peer, users []User) {
	ctx := context.Background()
	for _, u := range users {
		if !u.SCRAM {
			continue
		}
		key, id, err := b.SCRAMCredential(ctx, peer, u.Name)
		if err != nil || id.User == "" {
			t.Errorf("%s: %+v, %v", u.Name, id, err)
			continue
		}
		want, err := sasl.NewSCRAMCredential(u.Password, key.Salt, key.Iterations)
		if err != nil || string(want.StoredKey) != string(key.StoredKey) || string(want.ServerKey) != string(key.ServerKey) {
			t.Errorf("%s: the key is not the password's", u.Name)
		}
	}
	for _, name := range strangers {
		first, _, err := b.SCRAMCredential(ctx, peer, name)
		refused(t, err, "SCRAM of an unknown name")
		again, _, _ := b.SCRAMCredential(ctx, peer, name)
		if string(first.Salt) != string(again.Salt) || first.Iterations != again.Iterations {
			t.Errorf("%q: the decoy changes from one time to the next", name)
		}
	}
}

func testLookup(t *testing.T, b caddymsa.Lookuper, peer caddymsa.Peer, users []User) {
	ctx := context.Background()
	for _, u := range users {
		first, err := b.Lookup(ctx, peer, u.Name)
		if err != nil {
			t.Errorf("%s: %v", u.Name, err)
		}
		if again, _ := b.Lookup(ctx, peer, u.Name); again.Fingerprint != first.Fingerprint {
			t.Errorf("%s: the fingerprint changes though nothing did", u.Name)
		}
	}
	for _, name := range strangers {
		_, err := b.Lookup(ctx, peer, name)
		refused(t, err, "looking up an unknown name")
	}
}
