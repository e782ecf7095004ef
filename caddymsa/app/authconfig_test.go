package app

import (
	"context"
	"slices"
	"strings"
	"testing"

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
		{auth([]string{"login", "PLAIN"}, passwordsOnly{}), []string{sasl.Login, sasl.Plain}, ""},
		{auth([]string{"SCRAM-SHA-256"}, passwordsOnly{}), nil, "mechanism SCRAM-SHA-256: no backend can serve it; backends: backend (password)"},
		{auth([]string{"PLAIN", "PLAIN"}, passwordsOnly{}), nil, "specified twice"},
		{auth([]string{"NTLM"}, passwordsOnly{}), nil, "is not known"},
		{auth(nil, struct{}{}), nil, "no backend can serve"},
	} {
		err := tt.a.chooseMechanisms()
		if tt.err == "" && (err != nil || !slices.Equal(tt.a.offered, tt.want)) || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("%q: %q, %v", tt.a.Mechanisms, tt.a.offered, err)
		}
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
