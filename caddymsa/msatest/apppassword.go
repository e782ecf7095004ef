package msatest

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// AppUser is whom AppPasswords asks about.
const (
	AppUser     = "alice@example.org"
	AppPassword = "main secret"
	AppRealm    = "msa.example.org"
)

// StoredApp is an application password of AppUser, as a backend stores it.
type StoredApp struct {
	Label, Secret string
	Expires       time.Time
	Nets          []string
	Credentials   []string
}

// StoredApps returns what a backend has to hold of AppUser, and the user's own credential.
func StoredApps(t testing.TB) (own string, apps []StoredApp) {
	t.Helper()
	generate := func(scheme, secret string) string {
		c, err := passwd.Generate(scheme, AppUser, secret, passwd.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	apps = []StoredApp{
		{Label: "phone", Secret: "phone-secret", Expires: time.Now().Add(24 * time.Hour).Truncate(time.Second), Nets: []string{"127.0.0.0/8", "local"}},
		{Label: "old", Secret: "old-secret", Expires: time.Now().Add(-time.Hour).Truncate(time.Second)},
		{Label: "office", Secret: "office-secret", Nets: []string{"192.0.2.0/24"}},
	}
	for i := range apps {
		apps[i].Credentials = []string{StoredSCRAM(t, apps[i].Secret), generate("DIGEST-MD5.realm="+AppRealm, apps[i].Secret)}
	}
	return StoredSCRAM(t, AppPassword), apps
}

// StoredSCRAM is a credential of SCRAM-SHA-256 that costs little to check: it has a few iterations, where passwd.Generate would make no fewer than 4096.
func StoredSCRAM(t testing.TB, password string) string {
	t.Helper()
	k, err := sasl.NewSCRAMCredential(password, []byte(rand.Text()), 64)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("{SCRAM-SHA-256}%d,%s,%s,%s", k.Iterations, b64(k.Salt), b64(k.StoredKey), b64(k.ServerKey))
}

// AppPasswords is the suite of a backend that holds StoredApps: each secret logs in by the user's name and by name+label, as far as it may be
// used, and the identity says which it was.
func AppPasswords(t *testing.T, backend any) {
	ctx, peer := context.Background(), caddymsa.Peer{IP: netip.MustParseAddr("127.0.0.1"), Server: AppRealm}
	b := backend.(interface {
		caddymsa.PasswordVerifier
		caddymsa.Lookuper
		caddymsa.DigestStore
		caddymsa.SCRAMStore
	})
	outcome := func(id caddymsa.Identity, err error) string {
		t.Helper()
		switch {
		case err == nil && id.User != AppUser:
			t.Errorf("it is %+v", id)
		case err == nil:
			return "as " + id.AppPassword
		case !errors.Is(err, caddymsa.ErrCredentials):
			return err.Error()
		}
		return caddymsa.Reason(err)
	}
	for _, tt := range []struct{ name, password, want string }{
		{AppUser, AppPassword, "as "},
		{AppUser, "phone-secret", "as phone"},
		{AppUser + "+phone", "phone-secret", "as phone"},
		{strings.ToUpper(AppUser) + "+Phone", "phone-secret", "as phone"},
		{AppUser + "+phone", AppPassword, "wrong"},
		{AppUser + "+phone", "office-secret", "wrong"},
		{AppUser, "old-secret", "expired"},
		{AppUser + "+old", "old-secret", "expired"},
		{AppUser, "office-secret", "address"},
		{AppUser + "+office", "office-secret", "address"},
		{AppUser, "guess", "wrong"},
		{AppUser + "+nothing", "phone-secret", "unknown"},
		{"bob@example.org+phone", "phone-secret", "unknown"},
	} {
		for range 2 { // the second time a cache may know
			if got := outcome(b.VerifyPassword(ctx, peer, tt.name, tt.password)); got != tt.want {
				t.Errorf("%s with %s: %s, want %s", tt.name, tt.password, got, tt.want)
			}
		}
	}
	for secret, want := range map[string]string{"phone-secret": "as phone", "old-secret": "expired", "office-secret": "address", "guess": "wrong"} {
		got := "wrong"
		all, err := b.DigestCredentials(ctx, peer, AppUser, AppRealm)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range all {
			if c.HA1 != nil && *c.HA1 == sasl.DigestHA1(AppUser, AppRealm, secret) {
				got = outcome(c.Identity, c.Refused)
			}
		}
		if got != want {
			t.Errorf("DIGEST-MD5 with %s: %s, want %s", secret, got, want)
		}
	}
	for name, want := range map[string]string{AppUser: "as ", AppUser + "+phone": "as phone", AppUser + "+old": "expired", AppUser + "+office": "address", AppUser + "+nothing": "unknown"} {
		_, id, err := b.SCRAMCredential(ctx, peer, name)
		if got := outcome(id, err); got != want {
			t.Errorf("SCRAM as %s: %s, want %s", name, got, want)
		}
		if got := outcome(b.Lookup(ctx, peer, name)); got != want {
			t.Errorf("look-up of %s: %s, want %s", name, got, want)
		}
	}
	one, _ := b.Lookup(ctx, peer, AppUser)
	other, _ := b.Lookup(ctx, peer, AppUser+"+phone")
	if id, err := b.VerifyPassword(ctx, peer, AppUser, "phone-secret"); err != nil || id.Fingerprint != other.Fingerprint || id.Fingerprint == one.Fingerprint || id.LoginName() != AppUser+"+phone" {
		t.Errorf("what is looked up is not what logged in: %+v, %v", id, err)
	}
}
