package authapppassword

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
	"github.com/caddy-msa/caddy-msa/caddymsa/tableauth"
)

var (
	ctx  = context.Background()
	peer = caddymsa.Peer{IP: netip.MustParseAddr("127.0.0.1"), Server: msatest.AppRealm}
)

// held is a store in memory.
type held struct {
	*tableauth.Backend
	passwd.Keeper
}

func holds(t *testing.T, lines ...string) held {
	t.Helper()
	table, err := passwd.Parse(strings.NewReader(strings.Join(lines, "\n")), names.Folded)
	if err != nil {
		t.Fatal(err)
	}
	b := tableauth.New([]byte("secret"), nil, names.Folded)
	b.Swap(table)
	return held{Backend: b}
}

// users is a directory of what it says of each name, and counts its questions.
type users struct {
	known map[string]caddymsa.Identity
	err   error // of all others
	asked int
}

func (u *users) VerifyPassword(context.Context, caddymsa.Peer, string, string) (caddymsa.Identity, error) {
	return caddymsa.Identity{}, caddymsa.ErrWrongPassword
}

func (u *users) Lookup(_ context.Context, _ caddymsa.Peer, name string) (caddymsa.Identity, error) {
	u.asked++
	if id, ok := u.known[name]; ok {
		return id, nil
	}
	return caddymsa.Identity{}, u.err
}

// scrams is a directory whose users' own passwords serve SCRAM.
type scrams struct{ *users }

func (scrams) SCRAMCredential(context.Context, caddymsa.Peer, string) (sasl.SCRAMCredential, caddymsa.Identity, error) {
	return sasl.SCRAMCredential{}, caddymsa.Identity{}, caddymsa.ErrCredentials
}

// hands is a backend that hands mechanisms on whole, and can look nobody up.
type hands struct{}

func (hands) ProxiedMechanisms() []string { return []string{sasl.SCRAMSHA256} }
func (hands) ProxyExchange(caddymsa.Peer, string) caddymsa.ProxiedExchange {
	return nil
}

const phone = "alice@example.org:{PLAIN}own::::::attr_from=here app_password=phone;{PLAIN}phone-secret"

func meet(t *testing.T, a *AppPasswords, s held, directories ...any) *AppPasswords {
	t.Helper()
	a.store = s
	var others []caddymsa.Neighbor
	for i, d := range directories {
		others = append(others, caddymsa.Neighbor{ID: string(rune('a' + i)), Module: d})
	}
	if err := a.Meet(others); err != nil {
		t.Fatal(err)
	}
	return a
}

// All that is kept here says is which secret it was: who the user is says the first directory that knows it.
func TestIdentityIsTheDirectorys(t *testing.T) {
	first := &users{err: caddymsa.ErrUnknownUser}
	second := &users{err: caddymsa.ErrUnknownUser, known: map[string]caddymsa.Identity{"alice@example.org": {User: "Alice@example.org", Fingerprint: "theirs", Attributes: map[string]string{"plan": "gold"}}}}
	a := meet(t, new(AppPasswords), holds(t, phone), first, second)
	id, err := a.VerifyPassword(ctx, peer, "ALICE@example.org", "phone-secret")
	if err != nil || id.User != "Alice@example.org" || id.AppPassword != "phone" || id.Attributes["plan"] != "gold" || id.Attributes["from"] != "" {
		t.Fatalf("%+v, %v", id, err)
	}
	again, err := a.Lookup(ctx, peer, id.LoginName())
	if err != nil || again.Fingerprint != id.Fingerprint || again.Fingerprint == "theirs" {
		t.Errorf("%+v, %v", again, err)
	}
	for name, password := range map[string]string{"alice@example.org": "own", "alice@example.org+phone": "own", "alice@example.org+x": "phone-secret", "bob": "phone-secret"} {
		asked := second.asked
		if id, err := a.VerifyPassword(ctx, peer, name, password); !errors.Is(err, caddymsa.ErrCredentials) || asked != second.asked {
			t.Errorf("%s with %s: %+v, %v; the directory was asked %d times", name, password, id, err, second.asked-asked)
		}
	}
	a = meet(t, new(AppPasswords), holds(t, phone+" app_password=tablet;{PLAIN}tablet-secret addresses=@example.net"), first, second)
	all, err := a.DigestCredentials(ctx, peer, "alice@example.org", msatest.AppRealm)
	if err != nil || len(all) != 2 || all[0].Identity.Fingerprint == all[1].Identity.Fingerprint {
		t.Fatalf("%+v, %v", all, err)
	}
	for i, label := range []string{"phone", "tablet"} {
		if id := all[i].Identity; id.User != "Alice@example.org" || id.AppPassword != label || id.Attributes["plan"] != "gold" || id.Attributes["from"] != "" || len(id.Addresses) > 0 {
			t.Errorf("DIGEST-MD5, %s: %+v", label, id)
		}
	}
	if _, err := a.Lookup(ctx, peer, "alice@example.org"); !errors.Is(err, caddymsa.ErrUnknownUser) {
		t.Error("a bare name is the directory's to answer for:", err)
	}
}

// Whatever a directory says against the user counts in every mechanism, and no answer is neither a yes nor a no.
func TestDirectoryRefuses(t *testing.T) {
	down := errors.New("connection refused")
	for _, tt := range []struct {
		say   error
		known map[string]caddymsa.Identity
		want  error
	}{
		{say: caddymsa.ErrUnknownUser, want: caddymsa.ErrUnknownUser},
		{say: caddymsa.ErrDisabled, want: caddymsa.ErrDisabled},
		{say: caddymsa.ErrNotFromThere, want: caddymsa.ErrNotFromThere},
		{say: caddymsa.ErrCredentials, want: caddymsa.ErrUnknownUser},
		{say: down, want: down},
		{known: map[string]caddymsa.Identity{"alice@example.org": {User: "liddell"}}, want: caddymsa.ErrUnknownUser}, // a session would be looked up by that name
	} {
		d := &users{err: tt.say, known: tt.known}
		a := meet(t, new(AppPasswords), holds(t, phone), d)
		if _, err := a.VerifyPassword(ctx, peer, "alice@example.org", "phone-secret"); !errors.Is(err, tt.want) {
			t.Errorf("%v: password: %v", tt.say, err)
		}
		if _, _, err := a.SCRAMCredential(ctx, peer, "alice@example.org+phone"); !errors.Is(err, tt.want) {
			t.Errorf("%v: SCRAM: %v", tt.say, err)
		}
		if _, err := a.Lookup(ctx, peer, "alice@example.org+phone"); !errors.Is(err, tt.want) {
			t.Errorf("%v: look-up: %v", tt.say, err)
		}
		all, err := a.DigestCredentials(ctx, peer, "alice@example.org", msatest.AppRealm)
		if tt.want == down {
			if !errors.Is(err, down) {
				t.Errorf("%v: DIGEST-MD5: %v", tt.say, err)
			}
		} else if err != nil || len(all) != 1 || !errors.Is(all[0].Refused, tt.want) {
			t.Errorf("%v: DIGEST-MD5: %+v, %v", tt.say, all, err)
		}
	}
}

// before a proof, the directory is asked as often about users without application passwords and about nobody.
func TestSameQuestions(t *testing.T) {
	d := &users{err: caddymsa.ErrUnknownUser, known: map[string]caddymsa.Identity{"alice@example.org": {User: "alice@example.org"}, "bob@example.org": {User: "bob@example.org"}}}
	a := meet(t, new(AppPasswords), holds(t, phone+" app_password=tablet;{PLAIN}x"), d)
	for _, name := range []string{"alice@example.org", "alice@example.org+phone", "alice@example.org+x", "bob@example.org", "nobody@example.org", "nobody@example.org+phone"} {
		before := d.asked
		_, _, err := a.SCRAMCredential(ctx, peer, name)
		if (err == nil) != (name == "alice@example.org+phone") {
			t.Errorf("%s: SCRAM: %v", name, err)
		}
		if d.asked-before != 1 {
			t.Errorf("%s: SCRAM asks %d times", name, d.asked-before)
		}
		before = d.asked
		if _, err := a.DigestCredentials(ctx, peer, name, msatest.AppRealm); err != nil && !errors.Is(err, caddymsa.ErrCredentials) {
			t.Error(err)
		}
		if d.asked-before != 1 {
			t.Errorf("%s: DIGEST-MD5 asks %d times", name, d.asked-before)
		}
	}
}

// SCRAM has one key for a name: the bare one is left to a directory that may have a key for the user's own password.
func TestBareNameInSCRAM(t *testing.T) {
	sole := strings.Replace(phone, "{PLAIN}own", "", 1)
	d := &users{known: map[string]caddymsa.Identity{"alice@example.org": {User: "alice@example.org"}}}
	a := meet(t, new(AppPasswords), holds(t, sole), d)
	if _, id, err := a.SCRAMCredential(ctx, peer, "alice@example.org"); err != nil || id.AppPassword != "phone" {
		t.Errorf("%+v, %v", id, err)
	}
	a = meet(t, new(AppPasswords), holds(t, sole), scrams{d})
	if _, _, err := a.SCRAMCredential(ctx, peer, "alice@example.org"); !errors.Is(err, caddymsa.ErrCredentials) {
		t.Error(err)
	}
	if _, id, err := a.SCRAMCredential(ctx, peer, "alice@example.org+phone"); err != nil || id.AppPassword != "phone" {
		t.Errorf("%+v, %v", id, err)
	}
	a = meet(t, new(AppPasswords), holds(t, sole), d, hands{})
	if a.Serves(caddymsa.CapSCRAM) || !a.Serves(caddymsa.CapDigest) || !a.Serves(caddymsa.CapPassword) {
		t.Error("a mechanism that another backend hands on whole has one partner")
	}
}

// Where nobody can be asked, the users are those of the store.
func TestUnchecked(t *testing.T) {
	a := meet(t, &AppPasswords{Unchecked: true}, holds(t, phone, "bob@example.org:::::::nologin app_password=phone;{PLAIN}bob-secret"), hands{})
	if id, err := a.VerifyPassword(ctx, peer, "alice@example.org", "phone-secret"); err != nil || id.Attributes["from"] != "here" || id.AppPassword != "phone" {
		t.Errorf("%+v, %v", id, err)
	}
	if id, err := a.VerifyPassword(ctx, peer, "alice@example.org", "own"); !errors.Is(err, caddymsa.ErrCredentials) {
		t.Errorf("%+v, %v", id, err)
	}
	if _, err := a.VerifyPassword(ctx, peer, "bob@example.org", "bob-secret"); !errors.Is(err, caddymsa.ErrDisabled) {
		t.Error(err)
	}
	if id, err := a.Lookup(ctx, peer, "alice@example.org"); err != nil || id.User != "alice@example.org" {
		t.Errorf("%+v, %v", id, err)
	}
}

// A configuration in which nobody would say when a user is gone is refused, unless the operator means it.
func TestMeet(t *testing.T) {
	d, keeps := &users{}, holds(t, phone)
	for _, tt := range []struct {
		backends []string
		others   []any
		err      string
	}{
		{nil, nil, "no other backend"},
		{nil, []any{hands{}}, "a cannot look users up"},
		{nil, []any{keeps}, "no other backend"},
		{nil, []any{new(AppPasswords), keeps}, "no other backend"},
		{[]string{"b"}, []any{d}, `no other backend "b"; the server has a`},
		{[]string{"b"}, nil, `no other backend "b", nor any`},
		{[]string{"a", "a"}, []any{d}, "a is specified twice"},
		{[]string{"b"}, []any{d, hands{}}, "backend b cannot look users up"},
		{[]string{"a"}, []any{new(AppPasswords)}, "backend a cannot look users up"},
		{[]string{"b"}, []any{d, keeps}, ""}, // the operator knows
		{nil, []any{hands{}, d}, ""},
	} {
		a := &AppPasswords{Backends: tt.backends, store: keeps}
		var others []caddymsa.Neighbor
		for i, o := range tt.others {
			others = append(others, caddymsa.Neighbor{ID: string(rune('a' + i)), Module: o})
		}
		if err := a.Meet(others); tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("%q: %v, want %s", tt.backends, err, tt.err)
		}
	}
}
