package tableauth_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/authcache"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
	"github.com/caddy-msa/caddy-msa/caddymsa/tableauth"
)

// directory is where users are fetched from.
type directory struct {
	users map[string]*tableauth.Record
	asked []string
	err   error
}

func (d *directory) fetch(_ context.Context, name string) (*tableauth.Record, error) {
	if d.err == nil {
		return d.users[name], nil
	}
	d.asked = append(d.asked, name)
	return nil, d.err
}

func record(t *testing.T, name, password string) *tableauth.Record {
	t.Helper()
	u, err := passwd.NewUser(name)
	if err == nil {
		err = u.AddPassword(password)
	}
	if err != nil {
		t.Fatal(err)
	}
	u.Attributes = map[string]string{"dept": "sales"}
	return &tableauth.Record{User: u}
}

func remote(t *testing.T, d *directory, cache *authcache.Cache) *tableauth.Remote {
	t.Helper()
	return tableauth.NewRemote(d.fetch, passwd.NewSeen(&record(t, "decoy", "{PLAIN}x").User), []byte("secret"), cache)
}

//
func TestRemote(t *testing.T) {
	d := &directory{users: map[string]*tableauth.Record{"alice@example.org": record(t, "alice@example.org", "{PLAIN}secret")}}
	for _, cache := range []*authcache.Cache{nil, authcache.New(time.Hour, nil)} {
		r := remote(t, d, cache)
		msatest.Auth(t, r,
			msatest.User{Name: "alice@example.org", Password: "secret", DigestUser: "alice@example.org", Realm: "msa.example.org", SCRAM: true},
			msatest.User{Name: "alice@example.org", Password: "secret", DigestUser: "alice", Realm: "example.org", SCRAM: true})
		if id, err := r.VerifyPassword(context.Background(), local, "alice@example.org", "secret"); err != nil || id.Attributes["dept"] != "sales" {
			t.Error(id, err)
		}
	}
}

// Who was right a moment ago is still asked for; another credential, network or state counts at once.
func TestRemoteCache(t *testing.T) {
	d := &directory{users: map[string]*tableauth.Record{"alice": record(t, "alice", "{PLAIN}secret")}}
	r := remote(t, d, authcache.New(time.Hour, nil))
	ctx := context.Background()
	elsewhere := caddymsa.Peer{IP: netip.MustParseAddr("192.0.2.1")}
	login := func(peer caddymsa.Peer) error {
		_, err := r.VerifyPassword(ctx, peer, "alice", "secret")
		return err
	}
	if err := errors.Join(login(local), login(local)); err != nil {
		t.Fatal(err)
	}
	d.users["alice"].AllowNets = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	if err := login(elsewhere); !errors.Is(err, caddymsa.ErrCredentials) {
		t.Error("from elsewhere:", err)
	}
	d.users["alice"].Disabled = true
	if err := login(local); !errors.Is(err, caddymsa.ErrCredentials) {
		t.Error("disabled:", err)
	}
	d.users["alice"] = record(t, "alice", "{PLAIN}changed")
	if err := login(local); !errors.Is(err, caddymsa.ErrCredentials) {
		t.Error("another password:", err)
	}
}

// What cannot be asked is not a refusal, but a name that nobody can have is not asked for.
func TestRemoteCannotTell(t *testing.T) {
	broken := errors.New("broken")
	d := &directory{err: broken}
	r := remote(t, d, nil)
	ctx := context.Background()
	_, byPassword := r.VerifyPassword(ctx, local, "alice", "secret")
	_, byDigest := r.DigestCredentials(ctx, local, "alice", "r")
	_, _, bySCRAM := r.SCRAMCredential(ctx, local, "alice")
	_, byLookup := r.Lookup(ctx, local, "alice")
	for _, err := range []error{byPassword, byDigest, bySCRAM, byLookup} {
		if !errors.Is(err, broken) || errors.Is(err, caddymsa.ErrCredentials) {
			t.Error(err)
		}
	}
	asked := len(d.asked)
	if _, err := r.VerifyPassword(ctx, local, "a\x00b", "secret"); !errors.Is(err, caddymsa.ErrCredentials) || len(d.asked) > asked {
		t.Error(err, d.asked[asked:])
	}
}
