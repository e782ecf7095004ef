//go:build linux

package authhttp

import (
	"context"
	"encoding/hex"
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

var peer = caddymsa.Peer{IP: netip.MustParseAddr("::ffff:127.0.0.1"), Server: "msa.example.org", Session: "s1"}

type user = map[string]any

// verifier is what the module serves without credentials, for the suite, which looks at types.
type verifier struct {
	caddymsa.PasswordVerifier
	caddymsa.Lookuper
}

// hostile are names that want to be more than a name, of users who exist: they must arrive exactly.
var hostile = []string{
	`"`, `\`, `\"`, `","ok":true,"x":"`, `{"ok":true}`, `alice@example.org","action":"lookup`, "' OR '1'='1", "</script>", "a&b=c", "%00", "%s%n",
	"a\u2028b", "😀@example.org", "jürgen@example.org", "alice @example.org", "ALICE@example.org", `\u0000`, "\ufeffx", "\ufffd", "{env.HOME}",
}

// refusable are names that nobody can have, since JSON or a log would have them differ.
var refusable = []string{"", "a\x00b", "\x00", "\n", "alice@example.org\r\nX: y", "\xff\xfe", "alice\xc0\xaf", "\u0085", "alice@example.org ", " alice@example.org", strings.Repeat("x", 256)}

func people() map[string]any {
	all := map[string]any{
		"alice@example.org": user{"secret": "s3cret", "addresses": []string{"a@example.net", "*@example.com"}, "fingerprint": "1",
			"attributes": user{"department": "sales", "uid": 1000, "admin": true, "groups": []string{"a", "b"}, "none": nil}},
		"alias":           user{"secret": "p\"a\\ss\u2028word😀", "name": "alice@example.org"},
		"off@example.org": user{"secret": "s3cret", "disabled": true},
	}
	for _, name := range hostile {
		all[name] = user{"secret": "s3cret " + name}
	}
	return all
}

//
func TestVerify(t *testing.T) {
	t.Parallel()
	srv := startService(t, people())
	h := must(t, srv.settings())
	ctx := context.Background()
	t.Run("conformance", func(t *testing.T) {
		all := people()
		srv.configure(user{"users": user{"alice@example.org": all["alice@example.org"], "alias": all["alias"]}})
		defer srv.configure(user{"users": all})
		msatest.Auth(t, verifier{h, h}, msatest.User{Name: "alice@example.org", Password: "s3cret"},
			msatest.User{Name: "alias", Password: "p\"a\\ss\u2028word😀"})
	})
	t.Run("identity", func(t *testing.T) {
		for _, ask := range []func() (caddymsa.Identity, error){
			func() (caddymsa.Identity, error) { return h.VerifyPassword(ctx, peer, "alice@example.org", "s3cret") },
			func() (caddymsa.Identity, error) { return h.Lookup(ctx, peer, "alice@example.org") },
		} {
			id, err := ask()
			if err != nil || id.User != "alice@example.org" || len(id.Addresses) != 2 || id.Fingerprint != "1" {
				t.Errorf("%+v, %v", id, err)
			}
			msatest.Tariff(t, id, "uid", 1000)
			for name, want := range map[string]string{"department": "sales", "uid": "1000", "admin": "true", "groups": `["a","b"]`} {
				if id.Attributes[name] != want {
					t.Errorf("%s: %q", name, id.Attributes[name])
				}
			}
			if _, ok := id.Attributes["none"]; ok {
				t.Error("null became an attribute")
			}
		}
		if id, err := h.Lookup(ctx, peer, "alias"); err != nil || id.User != "alice@example.org" {
			t.Error("the service's spelling does not count:", id, err)
		}
		if _, err := h.VerifyPassword(ctx, peer, "off@example.org", "s3cret"); !isRefusal(err) {
			t.Error("disabled:", err)
		}
	})
	t.Run("names fold", func(t *testing.T) {
		if id, err := h.VerifyPassword(ctx, peer, "Alice@Example.org", "s3cret"); err != nil || id.User != "alice@example.org" {
			t.Errorf("%+v, %v", id, err)
		}
		asked := srv.questions()
		if q := asked[len(asked)-1]; q.User != "alice@example.org" {
			t.Errorf("asked for %s", q.User)
		}
	})
	t.Run("forms of a password", func(t *testing.T) {
		all := people()
		all["typed"], all["prepared"] = user{"secret": "m²pass"}, user{"secret": "m2pass"}
		srv.configure(user{"users": all})
		defer srv.configure(user{"users": people()})
		for _, name := range []string{"typed", "prepared"} {
			if _, err := h.VerifyPassword(ctx, peer, name, "m²pass"); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if _, err := h.VerifyPassword(ctx, peer, name, "m³pass"); !isRefusal(err) {
				t.Errorf("%s with a wrong password: %v", name, err)
			}
		}
	})
	t.Run("names arrive exactly", func(t *testing.T) {
		settings := srv.settings()
		settings.Case = names.Exact
		h := must(t, settings)
		for _, name := range hostile {
			if id, err := h.VerifyPassword(ctx, peer, name, "s3cret "+name); err != nil || id.User != name {
				t.Errorf("%q: %q, %v", name, id.User, err)
			}
			asked := srv.questions()
			want := question{Version: 1, Action: "verify", User: name, IP: "127.0.0.1", Server: peer.Server, Session: peer.Session}
			q := asked[len(asked)-1]
			password := q.secret()
			if q.Password = nil; q != want || password != "s3cret "+name {
				t.Errorf("%q arrived as %+v with %q", name, q, password)
			}
		}
		before := len(srv.questions())
		for _, name := range refusable {
			_, byPassword := h.VerifyPassword(ctx, peer, name, "s3cret")
			_, byLookup := h.Lookup(ctx, peer, name)
			if !isRefusal(byPassword) || !isRefusal(byLookup) {
				t.Errorf("%q: %v, %v", name, byPassword, byLookup)
			}
		}
		for _, password := range []string{"", "\xff", "s3cret\xc3"} {
			if _, err := h.VerifyPassword(ctx, peer, "alice@example.org", password); !isRefusal(err) {
				t.Errorf("%q: %v", password, err)
			}
		}
		if after := len(srv.questions()); after != before {
			t.Error(after-before, "questions about what JSON cannot carry")
		}
	})
	t.Run("changes", func(t *testing.T) {
		revision := h.Revision()
		srv.configure(user{"users": user{"alice@example.org": user{"secret": "changed", "fingerprint": "2"}}})
		id, err := h.Lookup(ctx, peer, "alice@example.org")
		if err != nil || id.Fingerprint != "2" || h.Revision() == revision {
			t.Error("another password shows nowhere:", err)
		}
	})
	t.Run("capabilities", func(t *testing.T) {
		settings := srv.settings()
		settings.NoLookup = true
		without := must(t, settings)
		for c, want := range map[caddymsa.Capability][2]bool{
			caddymsa.CapPassword: {true, true}, caddymsa.CapLookup: {true, false}, caddymsa.CapDigest: {false, false}, caddymsa.CapSCRAM: {false, false},
		} {
			if got := [2]bool{h.Serves(c), without.Serves(c)}; got != want {
				t.Error(c, got)
			}
		}
	})
}

// The service proves who it is, and we prove who we are, in each way.
func TestProof(t *testing.T) {
	t.Parallel()
	srv := startService(t, people())
	for name, c := range map[string]struct {
		change func(*HTTP)
		want   string
	}{
		"right":             {func(*HTTP) {}, ""},
		"server name":       {func(h *HTTP) { h.URL = strings.Replace(h.URL, "localhost", "127.0.0.1", 1); h.ServerName = "localhost" }, ""},
		"wrong name":        {func(h *HTTP) { h.URL = strings.Replace(h.URL, "localhost", "127.0.0.1", 1) }, "x509"},
		"unknown authority": {func(h *HTTP) { h.CA = nil }, "unknown authority"},
		"no certificate":    {func(h *HTTP) { h.ClientCertificate, h.ClientKey = "", "" }, ""}, // the service ends the connection in its own words
		"no token":          {func(h *HTTP) { h.Bearer = "" }, "status 401 Unauthorized: it refuses this server"},
		"another token":     {func(h *HTTP) { h.Bearer += "x" }, "401"},
		"no signature":      {func(h *HTTP) { h.HMACKey = "" }, "status 403 Forbidden: it refuses this server"},
		"another key":       {func(h *HTTP) { h.HMACKey += "x" }, "403"},
		"another address":   {func(h *HTTP) { h.URL += "/" }, "404"},
		"plaintext to https": {func(h *HTTP) {
			h.URL = strings.Replace(h.URL, "https", "http", 1)
			h.CA, h.ClientCertificate, h.ClientKey = nil, "", ""
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			settings := srv.settings()
			c.change(&settings)
			h := must(t, settings)
			before := len(srv.questions())
			id, err := h.VerifyPassword(context.Background(), peer, "alice@example.org", "s3cret")
			if name == "right" || name == "server name" {
				if err != nil || id.User != "alice@example.org" {
					t.Error(err)
				}
				return
			}
			if err == nil || isRefusal(err) || !strings.Contains(err.Error(), c.want) || len(srv.questions()) != before {
				t.Errorf("%v, want %s", err, c.want)
			}
			for _, secret := range []string{testBearer, testHMACKey, "s3cret"} {
				if err != nil && strings.Contains(err.Error(), secret) {
					t.Error("a secret in", err)
				}
			}
		})
	}
	t.Run("old signature", func(t *testing.T) {
		h := must(t, srv.settings())
		srv.configure(user{"ahead": 3600})
		defer srv.configure(user{"ahead": 0})
		if _, err := h.Lookup(context.Background(), peer, "alice@example.org"); err == nil || isRefusal(err) || !strings.Contains(err.Error(), "403") {
			t.Error(err)
		}
	})
	t.Run("certificate is read again", func(t *testing.T) {
		settings := srv.settings()
		settings.ClientCertificate, settings.ClientKey = srv.path("renewed.pem"), srv.path("renewed.key")
		replace := func(with string) {
			t.Helper()
			for _, ending := range []string{".pem", ".key"} {
				b, err := os.ReadFile(srv.path(with + ending))
				if err != nil {
					t.Fatal(err)
				}
				srv.file("renewed"+ending, b)
			}
		}
		replace("server") // whose certificate is for a server, not for a client
		h := must(t, settings)
		if _, err := h.Lookup(context.Background(), peer, "alice@example.org"); err == nil || isRefusal(err) {
			t.Error("the service takes any certificate:", err)
		}
		replace("client")
		if _, err := h.Lookup(context.Background(), peer, "alice@example.org"); err != nil {
			t.Error(err)
		}
	})
}

func generate(t testing.TB, scheme, name, password string) string {
	t.Helper()
	c, err := passwd.Generate(scheme, name, password, passwd.Options{Rounds: map[string]int{"SHA512-CRYPT": 1000}[scheme]})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

//
func TestCredentials(t *testing.T) {
	t.Parallel()
	const realm = "msa.example.org"
	ha1 := func(name, realm, password string) string {
		sum := sasl.DigestHA1(name, realm, password)
		return hex.EncodeToString(sum[:])
	}
	const hash, clear, key = "alice@example.org", "clear@example.org", "scram@example.org"
	srv := startService(t, map[string]any{
		hash:              user{"password": generate(t, "SHA512-CRYPT", hash, "s3cret"), "digest_ha1": user{realm: ha1(hash, realm, "s3cret")}, "addresses": []string{"a@example.net"}, "attributes": user{"a": "b"}},
		clear:             user{"password": "{PLAIN}secret: with: colons", "name": clear},
		key:               user{"scram": strings.TrimPrefix(generate(t, "SCRAM-SHA-256", key, "hunter2"), "{SCRAM-SHA-256}"), "digest_ha1": user{"": ha1("scram", "example.org", "hunter2")}, "allow_nets": []string{"127.0.0.0/8"}},
		"off@example.org": user{"password": "{PLAIN}secret", "disabled": true},
		"locked":          user{"password": "!"},
		"far":             user{"password": "{PLAIN}secret", "allow_nets": []string{"192.0.2.0/24"}},
		"broken":          user{"password": "{ROT13}secret"},
	})
	settings := srv.settings()
	settings.Credentials, settings.Decoy = true, []string{generate(t, "SHA512-CRYPT", "x", "y"), "SCRAM-SHA-256"}
	h := must(t, settings)
	ctx := context.Background()
	t.Run("conformance", func(t *testing.T) {
		msatest.Auth(t, h,
			msatest.User{Name: hash, Password: "s3cret", DigestUser: hash, Realm: realm},
			msatest.User{Name: clear, Password: "secret: with: colons", DigestUser: clear, Realm: realm, SCRAM: true},
			msatest.User{Name: clear, Password: "secret: with: colons", DigestUser: "clear", Realm: "example.org", SCRAM: true},
			msatest.User{Name: key, Password: "hunter2", DigestUser: "scram", Realm: "example.org", SCRAM: true})
	})
	id, err := h.VerifyPassword(ctx, peer, hash, "s3cret")
	again, lookedUp := h.Lookup(ctx, peer, hash)
	if err != nil || lookedUp != nil || len(id.Addresses) != 1 || id.Attributes["a"] != "b" || id.Fingerprint == "" || id.Fingerprint != again.Fingerprint {
		t.Errorf("%+v, %v", id, err)
	}
	for _, name := range []string{"off@example.org", "locked", "far"} {
		if _, err := h.VerifyPassword(ctx, peer, name, "secret"); !isRefusal(err) {
			t.Error(name, err)
		}
	}
	if _, err := h.VerifyPassword(ctx, peer, "broken", "secret"); err == nil || isRefusal(err) {
		t.Error("a credential that cannot be read:", err)
	}
	for _, c := range []caddymsa.Capability{caddymsa.CapPassword, caddymsa.CapDigest, caddymsa.CapSCRAM, caddymsa.CapLookup} {
		if !h.Serves(c) {
			t.Error("does not serve", c)
		}
	}
	for _, q := range srv.questions() {
		if q.Action != "credentials" || q.Password != nil || q.IP != "127.0.0.1" && q.User != "nobody@invalid" {
			t.Fatalf("%+v", q)
		}
	}
}

func TestCache(t *testing.T) {
	t.Parallel()
	srv := startService(t, people())
	settings := srv.settings()
	settings.Cache = conf.Duration(time.Hour)
	h := must(t, settings)
	ctx := context.Background()
	asked := func() (verify int) {
		for _, q := range srv.questions() {
			if q.Action == "verify" {
				verify++
			}
		}
		return verify
	}
	login := func(password string, wantAsked int, want error) {
		t.Helper()
		before := asked()
		if _, err := h.VerifyPassword(ctx, peer, "alice@example.org", password); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
		if n := asked() - before; n != wantAsked {
			t.Errorf("%d questions with the password, want %d", n, wantAsked)
		}
	}
	login("s3cret", 1, nil)
	login("s3cret", 0, nil)
	login("wrong", 1, caddymsa.ErrCredentials)
	login("s3cret", 0, nil)
	if err := h.Reload(ctx); err != nil {
		t.Fatal(err)
	}
	login("s3cret", 1, nil)
	users := func(alice user) { srv.configure(user{"users": user{"alice@example.org": alice}}) }
	users(user{"secret": "s3cret", "fingerprint": "1", "disabled": true})
	login("s3cret", 1, caddymsa.ErrCredentials)
	users(user{"secret": "changed", "fingerprint": "2"})
	login("s3cret", 1, caddymsa.ErrCredentials)
	login("changed", 1, nil)
	login("changed", 0, nil)
}
