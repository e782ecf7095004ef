package authoauth

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"golang.org/x/sync/singleflight"
)

// algorithms of signatures: all that need a public key. With HMAC the key would be no secret.
var algorithms = []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.EdDSA}

// verifier verifies JWTs with the issuer's keys.
type verifier struct {
	oidc *oidc.IDTokenVerifier
}

func newVerifier(o *OAuth, d *discovery) *verifier {
	keys := &keySet{discovery: d, now: o.now}
	return &verifier{oidc.NewVerifier(o.Issuer, keys, &oidc.Config{ClientID: o.Audience, SupportedSigningAlgs: algorithms, Now: o.now})}
}

// verify checks signature, issuer, audience and times.
func (v *verifier) verify(ctx context.Context, token string) (claims, error) {
	// The library turns errors of the key set into text, so it leaves a note.
	var unavailable error
	t, err := v.oidc.Verify(context.WithValue(ctx, noteKey{}, &unavailable), token)
	switch {
	case unavailable != nil:
		return nil, unavailable
	case err != nil:
		return nil, fmt.Errorf("%w: %v", errRefused, err)
	}
	var c claims
	if err := t.Claims(&c); err != nil {
		return nil, fmt.Errorf("%w: %v", errRefused, err)
	}
	return c, nil
}

// noteKey is for a *error in a context.
type noteKey struct{}

// keySet are the issuer's keys. go-oidc's would ask the issuer at every token that a stranger
// makes up; this one does so for unknown keys only, and then not more often than refetch.
type keySet struct {
	discovery *discovery
	now       func() time.Time

	fetching singleflight.Group
	current  atomic.Pointer[fetchedKeys]
}

// fetchedKeys are the issuer's keys at some moment.
type fetchedKeys struct {
	keys []jose.JSONWebKey
	at   time.Time
}

// refetch is how long keys are taken to be all that there are.
const refetch = 10 * time.Second

// VerifySignature implements oidc.KeySet.
func (s *keySet) VerifySignature(ctx context.Context, jwt string) ([]byte, error) {
	allowed := make([]jose.SignatureAlgorithm, len(algorithms))
	for i, name := range algorithms {
		allowed[i] = jose.SignatureAlgorithm(name)
	}
	jws, err := jose.ParseSigned(jwt, allowed)
	if err != nil {
		return nil, err
	}
	keys, err := s.forID(ctx, jws.Signatures[0].Header.KeyID)
	if err != nil {
		if note, ok := ctx.Value(noteKey{}).(*error); ok {
			*note = fmt.Errorf("fetching the issuer's keys: %w", err)
		}
		return nil, err
	}
	for _, key := range keys {
		if payload, err := jws.Verify(key); err == nil {
			return payload, nil
		}
	}
	return nil, errors.New("no key of the issuer's fits the signature")
}

// forID returns the keys that may have signed.
func (s *keySet) forID(ctx context.Context, id string) ([]jose.JSONWebKey, error) {
	now := s.current.Load()
	if found := now.find(id); len(found) > 0 || now != nil && s.now().Sub(now.at) < refetch {
		return found, nil
	}
	now, err := once(ctx, &s.fetching, s.discovery.timeout, func(ctx context.Context) (*fetchedKeys, error) {
		f, err := s.fetch(ctx)
		if err == nil {
			s.current.Store(f)
		}
		return f, err
	})
	return now.find(id), err
}

func (s *keySet) fetch(ctx context.Context) (*fetchedKeys, error) {
	at := s.now()
	m, err := s.discovery.get(ctx)
	if err != nil {
		return nil, err
	}
	var answer oidcKeys
	if err := getJSON(ctx, s.discovery.client, m.JWKS, &answer); err != nil {
		return nil, err
	}
	return &fetchedKeys{answer.usable(), at}, nil
}

// find returns the keys of the id, or all if there is none.
func (f *fetchedKeys) find(id string) (found []jose.JSONWebKey) {
	if f == nil {
		return nil
	}
	for _, k := range f.keys {
		if (id == "" || k.KeyID == id) && k.IsPublic() && k.Use != "enc" {
			found = append(found, k)
		}
	}
	return found
}
