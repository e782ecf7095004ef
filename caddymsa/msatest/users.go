package msatest

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// Users is the suite of a backend whose users can be changed: it is passwd.Keeper, verifies passwords, and has bob@example.org, whose password
// is "secret", and others.
func Users(t *testing.T, backend any) {
	ctx, peer := context.Background(), caddymsa.Peer{IP: netip.MustParseAddr("127.0.0.1"), Server: AppRealm}
	b := backend.(interface {
		passwd.Keeper
		caddymsa.PasswordVerifier
		caddymsa.Lookuper
		caddymsa.SCRAMStore
	})
	const bob, robert = "bob@example.org", "robert@example.org"
	logsIn := func(name, password string, want bool) {
		t.Helper()
		_, err := b.VerifyPassword(ctx, peer, name, password)
		if (err == nil) != want || err != nil && !errors.Is(err, caddymsa.ErrCredentials) {
			t.Errorf("%s with %s: %v", name, password, err)
		}
	}
	change := func(name string, c passwd.Change, want error) {
		t.Helper()
		if _, err := b.ChangeUser(ctx, name, c); want == nil && err != nil || want != nil && !errors.Is(err, want) {
			t.Fatalf("%s: %+v: %v, want %v", name, c, err, want)
		}
	}
	seen, after := "", ""
	for range 1000 {
		page, err := b.Users(ctx, after, 2)
		if err != nil || len(page) > 2 {
			t.Fatal(page, err)
		}
		if len(page) == 0 {
			break
		}
		for _, u := range page {
			seen, after = seen+" "+u.Name, u.Name
		}
	}
	if strings.Count(seen+" ", " "+bob+" ") != 1 {
		t.Errorf("the pages together are%s", seen)
	}
	logsIn(bob, "secret", true)
	change(bob, passwd.Change{Disable: true}, nil)
	logsIn(bob, "secret", false)
	if u, err := b.User(ctx, bob); err != nil || !u.Disabled || u.Name != bob || len(u.Schemes) == 0 {
		t.Errorf("%+v, %v", u, err)
	}
	change(bob, passwd.Change{Enable: true}, nil)
	logsIn(bob, "secret", true)

	app, secret, err := passwd.MakeApp(bob, "phone", "2999-01-01", []string{"127.0.0.0/8"}, []string{"SCRAM-SHA-256", "DIGEST-MD5.realm=" + AppRealm})
	if err != nil {
		t.Fatal(err)
	}
	tablet, other, _ := passwd.MakeApp(bob, "tablet", "", nil, nil)
	change(bob, passwd.Change{AddApp: app}, nil)
	change(bob, passwd.Change{AddApp: app}, passwd.ErrRefused)
	change(bob, passwd.Change{AddApp: tablet}, nil)
	logsIn(bob, secret, true)
	logsIn(bob+"+phone", secret, true)
	logsIn(bob+"+tablet", secret, false)
	logsIn(bob, "secret", true)
	if u, err := b.User(ctx, bob); err != nil || len(u.AppPasswords) != 2 || u.AppPasswords[0].Label != "phone" || u.AppPasswords[0].Expires.Year() != 2999 || len(u.AppPasswords[0].AllowNets) != 1 || !u.AppPasswords[1].Expires.IsZero() {
		t.Errorf("%+v, %v", u, err)
	}
	change(bob, passwd.Change{RevokeApp: "PHONE"}, nil)
	change(bob, passwd.Change{RevokeApp: "phone"}, passwd.ErrNoApp)
	logsIn(bob, secret, false)
	logsIn(bob, other, true)

	change(bob, passwd.Change{Rename: robert}, nil)
	logsIn(bob, "secret", false)
	logsIn(robert, "secret", true)
	logsIn(robert, other, true)
	if key, id, err := b.SCRAMCredential(ctx, peer, robert+"+tablet"); err != nil || id.User != robert || id.AppPassword != "tablet" {
		t.Errorf("SCRAM under the new name: %+v, %v", id, err)
	} else if made, err := sasl.NewSCRAMCredential(other, key.Salt, key.Iterations); err != nil || string(made.StoredKey) != string(key.StoredKey) {
		t.Error("SCRAM under the new name has another key", err)
	}
	if _, _, err := b.SCRAMCredential(ctx, peer, bob+"+tablet"); !errors.Is(err, caddymsa.ErrCredentials) {
		t.Error("SCRAM under the old name:", err)
	}
	change(robert, passwd.Change{Rename: AppUser}, passwd.ErrRefused) // who is there already
	change(robert, passwd.Change{Delete: true}, nil)
	logsIn(robert, "secret", false)
	logsIn(robert, other, false)
	for _, c := range []passwd.Change{{Disable: true}, {Delete: true}, {Rename: "x@example.org"}, {RevokeApp: "x"}, {AddApp: app}} {
		change(robert, c, caddymsa.ErrUnknownUser)
	}
	if _, err := b.User(ctx, robert); !errors.Is(err, caddymsa.ErrUnknownUser) {
		t.Error(err)
	}
}
