package tableauth_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/authcache"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
	"github.com/caddy-msa/caddy-msa/caddymsa/tableauth"
)

var local = caddymsa.Peer{IP: netip.MustParseAddr("127.0.0.1")}

func table(t *testing.T, lines ...string) *passwd.Table {
	t.Helper()
	parsed, err := passwd.Parse(strings.NewReader(strings.Join(lines, "\n")), names.Folded)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

//
func TestConformance(t *testing.T) {
	b := tableauth.New([]byte("secret"), authcache.New(time.Minute, nil), names.Folded)
	b.Swap(table(t, "alice@example.org:{PLAIN}secret"))
	msatest.Auth(t, b,
		msatest.User{Name: "alice@example.org", Password: "secret", DigestUser: "alice@example.org", Realm: "msa.example.org", SCRAM: true},
		msatest.User{Name: "alice@example.org", Password: "secret", DigestUser: "alice", Realm: "example.org", SCRAM: true})
}

func TestSwap(t *testing.T) {
	b := tableauth.New([]byte("secret"), authcache.New(time.Hour, nil), names.Folded)
	b.Swap(table(t, "alice@example.org:{PLAIN}secret", "bob@example.org:{PLAIN}hunter2"))
	ctx := context.Background()
	before, err := b.VerifyPassword(ctx, local, "alice@example.org", "secret")
	if err != nil {
		t.Fatal(err)
	}
	revision := b.Revision()
	b.Swap(table(t, "alice@example.org:{PLAIN}changed", "bob@example.org:{PLAIN}hunter2:::::: nologin"))
	if b.Revision() == revision {
		t.Error("the revision is the same after a change")
	}
	if _, err := b.VerifyPassword(ctx, local, "alice@example.org", "secret"); !errors.Is(err, caddymsa.ErrCredentials) {
		t.Error("the cache knows the old password:", err)
	}
	after, err := b.Lookup(ctx, local, "alice@example.org")
	if err != nil || after.Fingerprint == before.Fingerprint {
		t.Error("another password, the same fingerprint:", err)
	}
	if _, err := b.Lookup(ctx, local, "bob@example.org"); !errors.Is(err, caddymsa.ErrCredentials) {
		t.Error("a disabled user stands:", err)
	}
}

// A hit in the cache still asks where the user comes from.
func TestAllowNets(t *testing.T) {
	b := tableauth.New([]byte("secret"), authcache.New(time.Hour, nil), names.Folded)
	b.Swap(table(t, "alice@example.org:{PLAIN}secret::::::allow_nets=127.0.0.0/8"))
	ctx := context.Background()
	elsewhere := caddymsa.Peer{IP: netip.MustParseAddr("192.0.2.1")}
	if _, err := b.VerifyPassword(ctx, local, "alice@example.org", "secret"); err != nil {
		t.Fatal(err)
	}
	_, byPassword := b.VerifyPassword(ctx, elsewhere, "alice@example.org", "secret")
	_, _, bySCRAM := b.SCRAMCredential(ctx, elsewhere, "alice@example.org")
	_, byLookup := b.Lookup(ctx, elsewhere, "alice@example.org")
	for _, err := range []error{byPassword, bySCRAM, byLookup} {
		if !errors.Is(err, caddymsa.ErrCredentials) {
			t.Error("let in from elsewhere:", err)
		}
	}
	if c, _ := b.DigestCredentials(ctx, elsewhere, "alice@example.org", "r"); len(c) > 0 {
		t.Error("let in from elsewhere by DIGEST-MD5")
	}
}

// The operator is told why a client is refused; the client is not.
func TestReasons(t *testing.T) {
	b := tableauth.New([]byte("secret"), nil, names.Folded)
	b.Swap(table(t, "alice:{PLAIN}secret", "hash:{SHA256}XohImNooBHFR0OVvjcYpJ3NgPQ1qq73WKhHvch0VQtg=", "off:{PLAIN}secret::::::nologin", "old:{CRAM-MD5}00", "away:{PLAIN}secret::::::allow_nets=192.0.2.1", "empty:"))
	ctx := t.Context()
	for user, want := range map[string]string{"alice": "wrong", "Alice": "wrong", "nobody": "unknown", "off": "disabled", "old": "disabled", "away": "address", "empty": "no_credential"} {
		_, err := b.VerifyPassword(ctx, local, user, "guess")
		if !errors.Is(err, caddymsa.ErrCredentials) || caddymsa.Reason(err) != want {
			t.Errorf("%s: %v", user, err)
		}
		if user == "old" && !strings.Contains(err.Error(), "CRAM-MD5 is not supported") {
			t.Errorf("%s: %v", user, err)
		}
	}
	for user, want := range map[string]string{"nobody": "unknown", "off": "disabled", "hash": "no_credential", "away": "address"} {
		_, _, bySCRAM := b.SCRAMCredential(ctx, local, user)
		_, byDigest := b.DigestCredentials(ctx, local, user, "r")
		if caddymsa.Reason(bySCRAM) != want || caddymsa.Reason(byDigest) != want {
			t.Errorf("%s: %v, %v", user, bySCRAM, byDigest)
		}
	}
	if _, err := b.Lookup(ctx, local, "empty"); err != nil {
		t.Error(err)
	}
	for _, pair := range [][2]error{{caddymsa.ErrUnknownUser, caddymsa.ErrWrongPassword}, {caddymsa.ErrWrongPassword, caddymsa.ErrUnknownUser}, {caddymsa.ErrCredentials, caddymsa.ErrWrongPassword}} {
		if caddymsa.Reason(caddymsa.MoreTelling(pair[0], pair[1])) != "wrong" {
			t.Error(pair)
		}
	}
}
