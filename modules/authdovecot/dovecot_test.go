//go:build linux

package authdovecot

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// Dovecot knows more users than this one, but none of the suite's strangers.
func TestConformance(t *testing.T) {
	t.Parallel()
	s := startDovecot(t)
	d := must(t, &Dovecot{Address: s.client, UserDB: s.userdb, Cache: conf.Duration(time.Hour)})
	msatest.Auth(t, d, msatest.User{Name: "alice@example.org", Password: "secret"})
}

// What is typed gets in, whether that was hashed, what SASLprep makes of it, or its accents composed.
func TestFormsAtDovecot(t *testing.T) {
	t.Parallel()
	s := startDovecot(t)
	d := must(t, &Dovecot{Address: s.client})
	for _, user := range []string{"typed@example.org", "prepared@example.org", "composed@example.org"} {
		if _, err := d.VerifyPassword(ctx, peer, user, "m²pass cafe\u0301 nb\u00a0sp"); err != nil {
			t.Errorf("%s: %v", user, err)
		}
		if _, err := d.VerifyPassword(ctx, peer, user, "m³pass cafe\u0301 nb\u00a0sp"); !errors.Is(err, caddymsa.ErrCredentials) {
			t.Errorf("%s with a wrong password: %v", user, err)
		}
	}
}

// The identity is the one that Dovecot gives, and nothing else of what it says is believed.
func TestIdentity(t *testing.T) {
	t.Parallel()
	s := startDovecot(t)
	bare := must(t, &Dovecot{Address: s.client, AddressesField: "mail", Attributes: []string{"mail", "none"}})
	full := must(t, &Dovecot{Address: s.tcp, UserDB: s.userdb, AddressesField: "addresses", FingerprintField: "stamp", Attributes: []string{"home"}})
	id, err := bare.VerifyPassword(ctx, peer, "ALICE@example.org", "secret")
	if err != nil || id.User != "alice@example.org" || len(id.Attributes) != 1 || id.Attributes["mail"] != "alice@example.com" ||
		len(id.Addresses) != 1 || !maySend(t, id, "alice@example.com") || id.Fingerprint != "" {
		t.Errorf("of the passdb: %+v, %v", id, err)
	}
	if id, err = bare.VerifyPassword(ctx, peer, "bob@example.org", "hunter2"); err != nil || id.User != "robert@example.org" {
		t.Errorf("another name: %+v, %v", id, err)
	}
	id, err = full.VerifyPassword(ctx, peer, "alice@example.org", "secret")
	if err != nil || id.Attributes["home"] != "/home/alice" || !maySend(t, id, "alice@example.net") || !maySend(t, id, "x@dept.example.org") ||
		maySend(t, id, "bob@example.net") || id.Fingerprint != "1" {
		t.Errorf("of the userdb: %+v, %v", id, err)
	}
	for name, ok := range map[string]bool{"near@example.org": true, "far@example.org": false, "former@example.org": false} {
		if _, err := bare.VerifyPassword(ctx, peer, name, "secret"); (err == nil) != ok || err != nil && !refusedBy(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	elsewhere := caddymsa.Peer{IP: netip.MustParseAddr("::ffff:10.1.2.3"), Session: "tab\there\nresp=x"}
	if _, err := bare.VerifyPassword(ctx, elsewhere, "far@example.org", "secret"); err != nil {
		t.Error("from its own network:", err)
	}
}

func maySend(t *testing.T, id caddymsa.Identity, address string) bool {
	t.Helper()
	a, err := mailaddr.Parse(address, true)
	if err != nil {
		t.Fatal(err)
	}
	return id.MaySendAs(a)
}

// Open sessions hear of a user who is gone, disabled or other than before (docs/dev/architecture.md, decision 3).
func TestLookup(t *testing.T) {
	t.Parallel()
	s := startDovecot(t)
	d := must(t, &Dovecot{Address: s.client, UserDB: s.userdb, FingerprintField: "stamp"})
	if before, again := d.Revision(), d.Revision(); before == again {
		t.Error("open sessions are not looked up")
	}
	id, err := d.Lookup(ctx, peer, "alice@example.org")
	if err != nil || id.Fingerprint != "1" {
		t.Fatalf("%+v, %v", id, err)
	}
	// Dovecot looks at its file once a second.
	for _, change := range []struct {
		what, users string
		seen        func() bool
	}{
		{"another fingerprint", strings.Replace(users, "stamp=1", "stamp=22", 1), func() bool { return err == nil && id.Fingerprint == "22" }},
		{"a disabled user", strings.Replace(users, "stamp=1", "stamp=1 nologin", 1), func() bool { return refusedBy(err) }},
		{"the user as before", users, func() bool { return err == nil && id.Fingerprint == "1" }},
		{"nobody", "x@example.org:{PLAIN}y:1:1::/::\n", func() bool { return refusedBy(err) }},
	} {
		s.setUsers(change.users)
		await(t, change.what, func() bool {
			id, err = d.Lookup(ctx, peer, "alice@example.org")
			return change.seen()
		})
	}
	if !d.Serves(caddymsa.CapLookup) || (&Dovecot{}).Serves(caddymsa.CapLookup) || (&Dovecot{}).Serves(caddymsa.CapProxy) {
		t.Error("Serves says something else")
	}
}

// Many share one connection.
func TestConcurrentLogins(t *testing.T) {
	t.Parallel()
	s := startDovecot(t)
	d := must(t, &Dovecot{Address: s.client, Mechanisms: slices.Clone(handedOn)})
	if _, err := d.VerifyPassword(ctx, peer, "alice@example.org", "secret"); err != nil {
		t.Fatal(err)
	}
	wire, err := d.clients.connected(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			name, password := "alice@example.org", "secret"
			if i%2 == 1 {
				name, password = "bob@example.org", "hunter2"
			}
			if i%5 == 0 {
				password = "wrong"
			}
			var id caddymsa.Identity
			var err error
			if i%3 == 0 {
				x := d.ProxyExchange(peer, sasl.SCRAMSHA256)
				err = drive(x, clientOf(t, sasl.SCRAMSHA256, name, password))
				id = x.Identity()
			} else {
				id, err = d.VerifyPassword(ctx, peer, name, password)
			}
			want := map[string]string{"alice@example.org": "alice@example.org", "bob@example.org": "robert@example.org"}[name]
			if i%5 == 0 && !refusedBy(err) || i%5 != 0 && (err != nil || id.User != want) {
				t.Errorf("%d: %s: %+v, %v", i, name, id, err)
			}
		})
	}
	wg.Wait()
	if again, err := d.clients.connected(ctx); err != nil || again != wire {
		t.Error("it was not one connection")
	}
	if len(wire.pending) > 0 {
		t.Errorf("%d requests are left", len(wire.pending))
	}
}

// What would be syntax in a line is none.
func TestInjection(t *testing.T) {
	t.Parallel()
	s := startDovecot(t)
	d := must(t, &Dovecot{Address: s.client, UserDB: s.userdb, Mechanisms: slices.Clone(handedOn)})
	var wg sync.WaitGroup
	for _, name := range []string{
		"x\talice@example.org", "alice@example.org\tuser=x", "x\nAUTH\t9\tPLAIN", "x\r\n", "\x00alice@example.org", "alice@example.org\x00secret", "x\x01t", "\x01",
		"x\x00alice@example.org", "alice@example.org\x01",
	} {
		wg.Go(func() {
			if id, err := d.VerifyPassword(ctx, peer, name, "secret"); !refusedBy(err) {
				t.Errorf("%q: %+v, %v", name, id, err)
			}
			if id, err := d.Lookup(ctx, peer, name); !refusedBy(err) {
				t.Errorf("looking up %q: %+v, %v", name, id, err)
			}
			if strings.Contains(name, "\x00") { // where Dovecot believes that the name ends
				return
			}
			if id, err := d.lookup(ctx, peer, name); !refusedBy(err) { // below the check of names
				t.Errorf("looking up %q: %+v, %v", name, id, err)
			}
		})
		for _, response := range []string{"n,,n=" + name + ",r=abcdefgh", fmt.Sprintf("username=%q", name)} {
			wg.Go(func() {
				x := d.ProxyExchange(peer, sasl.SCRAMSHA256)
				defer x.Close()
				if _, done, err := x.Next(ctx, []byte(response)); done || err != nil && !refusedBy(err) {
					t.Errorf("SCRAM %q: %v, %v", response, done, err)
				}
			})
		}
	}
	wg.Wait()
	if _, err := d.VerifyPassword(ctx, peer, "alice@example.org", "secret"); err != nil {
		t.Error("afterwards:", err)
	}
}

// a user with nologin, whose password is right, is refused no sooner than others.
func TestNologinIsAsSlow(t *testing.T) {
	d := must(t, &Dovecot{Address: "/nowhere"})
	d.refusal.Store(int64(20 * time.Millisecond))
	begin := time.Now()
	_, err := d.conclude(ctx, peer, reply{command: "OK", fields: fields{"user=former", "nologin"}}, begin)
	if !refusedBy(err) || time.Since(begin) < 20*time.Millisecond {
		t.Errorf("%v after %s", err, time.Since(begin))
	}
}

// A remembered password saves the question about it, not the one whether the user still is.
func TestCache(t *testing.T) {
	t.Parallel()
	s := startDovecot(t)
	d := must(t, &Dovecot{Address: s.client, UserDB: s.userdb, Cache: conf.Duration(time.Hour)})
	verify := func() error {
		id, err := d.VerifyPassword(ctx, peer, "bob@example.org", "hunter2")
		if err == nil && id.User != "robert@example.org" {
			err = errors.New("it is " + id.User)
		}
		return err
	}
	if err := verify(); err != nil {
		t.Fatal(err)
	}
	s.setUsers(strings.Replace(users, "hunter2", "hunter3", 1))
	if err := verify(); err != nil {
		t.Error("remembered:", err)
	}
	if _, err := d.VerifyPassword(ctx, peer, "bob@example.org", "wrong"); !refusedBy(err) {
		t.Error("a wrong one:", err)
	}
	s.setUsers(strings.Replace(users, "robert@example.org:", "gone@example.org:", 1))
	await(t, "the user to be gone", func() bool { return refusedBy(verify()) })
	s.setUsers(strings.Replace(users, "hunter2", "hunter33", 1))
	await(t, "the user to be back", func() bool { return verify() == nil })
	if err := d.Reload(ctx); err != nil {
		t.Fatal(err)
	}
	if err := verify(); !refusedBy(err) {
		t.Error("after a reload of auth:", err)
	}
}

func TestConfig(t *testing.T) {
	for want, d := range map[string]*Dovecot{
		"address \"\"":         {},
		"address \"auth\"":     {Address: "auth"},
		"userdb":               {Address: "/a", UserDB: "b"},
		"is served anyway":     {Address: "/a", Mechanisms: []string{"plain"}},
		"cannot be handed on":  {Address: "/a", Mechanisms: []string{"SCRAM-SHA-256-PLUS"}},
		"there are SCRAM-SHA-": {Address: "/a", Mechanisms: []string{"CRAM-MD5"}},
		"twice":                {Address: "/a", Mechanisms: []string{"DIGEST-MD5", "digest-md5"}},
		"needs userdb":         {Address: "/a", FingerprintField: "f"},
		"negative":             {Address: "/a", Timeout: -1},
		"NO_SUCH_VARIABLE":     {Address: "{env.NO_SUCH_VARIABLE}"},
	} {
		if err := d.Provision(msatest.Context(t)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
		if err := d.Cleanup(); err != nil {
			t.Error(err)
		}
	}
	for text, ok := range map[string]bool{
		"dovecot /run/a": true, "dovecot": false, "dovecot a b": false,
		"dovecot /a {\n userdb /b\n mechanisms DIGEST-MD5 SCRAM-SHA-256\n service submission\n timeout 5s\n addresses_field m\n fingerprint_field f\n attributes a b\n cache 5m\n}": true,
		"dovecot /a {\n cache off\n}": true, "dovecot /a {\n cache never\n}": false, "dovecot /a {\n timeout 0\n}": false, "dovecot /a {\n mechanisms\n}": false,
		"dovecot /a {\n userdb\n}": false, "dovecot /a {\n socket /b\n}": false,
	} {
		if err := new(Dovecot).UnmarshalCaddyfile(caddyfile.NewTestDispenser(text)); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}
