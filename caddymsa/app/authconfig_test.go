package app

import (
	"context"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"
	zapobserver "go.uber.org/zap/zaptest/observer"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

type passwordsOnly struct{}

func (passwordsOnly) VerifyPassword(context.Context, caddymsa.Peer, string, string) (caddymsa.Identity, error) {
	return caddymsa.Identity{}, caddymsa.ErrCredentials
}

type digestOnly struct{}

func (digestOnly) DigestCredentials(context.Context, caddymsa.Peer, string, string) ([]caddymsa.DigestCredential, error) {
	return nil, nil
}

// table knows its users: some of them have nothing for SCRAM, or for DIGEST-MD5.
type table struct {
	passwordsOnly
	digestOnly
	users, noSCRAM, noDigest int
}

func (table) SCRAMCredential(context.Context, caddymsa.Peer, string) (sasl.SCRAMCredential, caddymsa.Identity, error) {
	return sasl.SCRAMCredential{}, caddymsa.Identity{}, caddymsa.ErrCredentials
}

func (t table) Survey(c caddymsa.Capability, _ []string) (users, without int) {
	switch c {
	case caddymsa.CapSCRAM:
		return t.users, t.noSCRAM
	case caddymsa.CapDigest:
		return t.users, t.noDigest
	}
	return t.users, 0
}

// database checks passwords, and does not know what is stored of all its users.
type database struct {
	passwordsOnly
	digestOnly
}

func auth(mechanisms []string, modules ...any) *Auth {
	a := &Auth{Mechanisms: mechanisms, srv: &Server{Hostname: "msa.example.org"}, Realms: []string{"msa.example.org"}}
	for _, m := range modules {
		a.backends = append(a.backends, &backend{id: "backend", module: m})
	}
	return a
}

// Decision 4: mechanisms follow from what backends can prove.
func TestMechanisms(t *testing.T) {
	for _, tt := range []struct {
		a    *Auth
		want []string
		err  string
	}{
		{auth(nil, passwordsOnly{}), []string{sasl.Plain, sasl.Login}, ""},
		{auth(nil, passwordsOnly{}, digestOnly{}), []string{sasl.DigestMD5, sasl.Plain, sasl.Login}, ""},
		{auth(nil, database{}), []string{sasl.Plain, sasl.Login}, ""},
		{auth([]string{"DIGEST-MD5"}, database{}), []string{sasl.DigestMD5}, ""},
		{auth(nil, table{users: 3}), []string{sasl.SCRAMSHA256, sasl.DigestMD5, sasl.Plain, sasl.Login}, ""}, // -PLUS has to be listed
		{auth([]string{"SCRAM-SHA-256-PLUS"}, table{users: 3}), []string{sasl.SCRAMSHA256Plus}, ""},
		{auth(nil, table{users: 3, noSCRAM: 1}), []string{sasl.DigestMD5, sasl.Plain, sasl.Login}, ""},
		{auth(nil, table{users: 3, noDigest: 1}), []string{sasl.SCRAMSHA256, sasl.Plain, sasl.Login}, ""},
		{auth(nil, table{users: 3, noSCRAM: 3}, table{users: 1, noDigest: 1}), []string{sasl.SCRAMSHA256, sasl.DigestMD5, sasl.Plain, sasl.Login}, ""}, // each of some backend
		{auth([]string{"login", "PLAIN"}, passwordsOnly{}), []string{sasl.Login, sasl.Plain}, ""},
		{auth([]string{"SCRAM-SHA-256"}, passwordsOnly{}), nil, "mechanisms: SCRAM-SHA-256: no backend can serve it; backends: backend (password)"},
		{auth([]string{"PLAIN", "PLAIN"}, passwordsOnly{}), nil, "specified twice"},
		{auth([]string{"NTLM"}, passwordsOnly{}), nil, "is not known"},
		{auth(nil, struct{}{}), nil, "no backend can serve"},
	} {
		err := tt.a.chooseMechanisms()
		if tt.err == "" && (err != nil || !slices.Equal(tt.a.offered(), tt.want)) || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("%q: %q, %v", tt.a.Mechanisms, tt.a.offered(), err)
		}
	}
}

// What is offered by default follows the users, without a reload.
func TestMechanismsFollowUsers(t *testing.T) {
	users := &table{users: 3}
	a := auth(nil, users)
	if err := a.chooseMechanisms(); err != nil || !slices.Contains(a.offered(), sasl.DigestMD5) || !slices.Equal(a.announceBeforeTLS(), []string{sasl.DigestMD5}) {
		t.Fatal(a.offered(), err)
	}
	a.srv.Auth = a
	engine := a.srv.settings()
	users.noDigest = 1
	if slices.Contains(a.offered(), sasl.DigestMD5) || len(engine.AnnounceBeforeTLS()) != 0 {
		t.Error(a.offered(), engine.AnnounceBeforeTLS())
	}
}

// The log says, where mechanisms are listed, how many users cannot use which.
func TestTellOfUsers(t *testing.T) {
	core, logs := zapobserver.New(zap.InfoLevel)
	a := auth([]string{"SCRAM-SHA-256", "DIGEST-MD5", "PLAIN"}, table{users: 5, noSCRAM: 2}, passwordsOnly{})
	if err := a.chooseMechanisms(); err != nil {
		t.Fatal(err)
	}
	a.tellOfUsers(zap.New(core))
	all := logs.TakeAll()
	if len(all) != 1 || all[0].Level != zap.WarnLevel {
		t.Fatal(all)
	}
	if f := all[0].ContextMap(); f["mechanism"] != "SCRAM-SHA-256" || f["backend"] != "backend" || f["users"] != int64(2) || f["of"] != int64(5) {
		t.Error(f)
	}
	a = auth(nil, table{users: 5, noSCRAM: 2})
	if err := a.chooseMechanisms(); err != nil {
		t.Fatal(err)
	}
	a.tellOfUsers(zap.New(core))
	if all := logs.TakeAll(); len(all) != 1 || all[0].Level != zap.InfoLevel {
		t.Error(all)
	}
}

// A hostname in its own script becomes A-labels, which is what greeting, certificate and realm have.
func TestASCIIHostname(t *testing.T) {
	for name, want := range map[string]string{"msa.example.org": "msa.example.org", "post.bücher.example": "post.xn--bcher-kva.example", "MSA.Bücher.example": "msa.xn--bcher-kva.example", "msa.example.org.": "", "bü cher.example": "", "": "", "例え。テスト": "xn--r8jz45g.xn--zckzah", "post．bücher｡example": "post.xn--bcher-kva.example", "mu\u0308nchen.example": "xn--mnchen-3ya.example"} {
		got, err := asciiHostname(name)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", name, got, err)
		}
	}
	a := &Auth{srv: &Server{Hostname: "post.xn--bcher-kva.example"}, DigestHosts: []string{"mail.bücher.example"}}
	if hosts := a.digestConfig().Hosts; !slices.Contains(hosts, "mail.xn--bcher-kva.example") || !slices.Contains(hosts, "mail.bücher.example") {
		t.Error(hosts)
	}
}

//
func TestAnnounceBeforeTLS(t *testing.T) {
	for _, tt := range []struct {
		announce, want []string
		err            string
	}{
		{nil, []string{sasl.DigestMD5}, ""},
		{[]string{}, nil, ""},
		{[]string{"digest-md5"}, []string{sasl.DigestMD5}, ""},
		{[]string{"PLAIN"}, nil, "clear text"},
		{[]string{"SCRAM-SHA-256"}, nil, "is not among the mechanisms"},
	} {
		a := auth(nil, passwordsOnly{}, digestOnly{})
		if err := a.chooseMechanisms(); err != nil {
			t.Fatal(err)
		}
		a.AnnounceBeforeTLS = tt.announce
		err := a.checkAnnounced()
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%q: %v", tt.announce, err)
			}
			continue
		}
		if got := a.announceBeforeTLS(); err != nil || !slices.Equal(got, tt.want) && len(got)+len(tt.want) > 0 {
			t.Errorf("%q: %q, %v", tt.announce, got, err)
		}
	}
}

// What is announced before TLS follows the users too: a configuration that loads today loads after a user was added who cannot use it.
func TestAnnouncedFollowsUsers(t *testing.T) {
	users := &table{users: 3, noDigest: 1}
	for _, tt := range []struct {
		module any
		ok     bool
	}{{users, true}, {database{}, false}} { // which never knows of all its users
		a := auth(nil, tt.module)
		if err := a.chooseMechanisms(); err != nil {
			t.Fatal(err)
		}
		a.AnnounceBeforeTLS = []string{sasl.DigestMD5}
		if err := a.checkAnnounced(); (err == nil) != tt.ok {
			t.Errorf("%T: %v", tt.module, err)
		}
		if got := a.announceBeforeTLS(); len(got) > 0 {
			t.Errorf("%T: %q is announced, and not offered", tt.module, got)
		}
		users.noDigest = 0
		if got := a.announceBeforeTLS(); tt.ok && !slices.Equal(got, []string{sasl.DigestMD5}) {
			t.Errorf("%T: %q", tt.module, got)
		}
	}
}
