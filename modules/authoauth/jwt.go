package authoauth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

// algorithms of signatures: all that need a public key. With HMAC the key would not be secret.
var algorithms = []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.EdDSA}

// verifier verifies JWTs with the issuer's keys.
type verifier struct {
	oidc *oidc.IDTokenVerifier
}

func newVerifier(o *OAuth, d *discovery) *verifier {
	keys := newKeySet(d, time.Duration(o.Timeout), o.now)
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
// makes up, and keep keys forever; this one asks when no key of the last hour has signed, and then not more
// often than refetch.
type keySet struct {
	discovery *discovery
	kept      kept[*fetchedKeys]
}

// fetchedKeys are the issuer's keys at some moment.
type fetchedKeys struct{ keys []jose.JSONWebKey }

// refetch is how long keys are taken to be all that there are.
const refetch = 10 * time.Second

func newKeySet(d *discovery, timeout time.Duration, now func() time.Time) *keySet {
	s := &keySet{discovery: d}
	s.kept = kept[*fetchedKeys]{fetch: s.fetch, timeout: timeout, now: now}
	return s
}

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
	var tried *fetchedKeys
	// An issuer may have a new key, under a new id or the old one, and may have taken one back.
	for _, age := range []time.Duration{keep, refetch} {
		keys, err := s.kept.get(ctx, age)
		if err != nil {
			if note, ok := ctx.Value(noteKey{}).(*error); ok {
				*note = fmt.Errorf("fetching the issuer's keys: %w", err)
			}
			return nil, err
		}
		if keys == tried {
			break
		}
		tried = keys
		for _, key := range keys.find(jws.Signatures[0].Header.KeyID) {
			if payload, err := jws.Verify(key); err == nil {
				return payload, nil
			}
		}
	}
	return nil, errors.New("no key of the issuer's fits the signature")
}

func (s *keySet) fetch(ctx context.Context) (*fetchedKeys, error) {
	m, err := s.discovery.get(ctx)
	if err != nil {
		return nil, err
	}
	var answer oidcKeys
	if err := getJSON(ctx, s.discovery.client, m.JWKS, &answer); err != nil {
		return nil, err
	}
	return &fetchedKeys{answer.usable()}, nil
}

// find returns the keys of the id, or all if there is none.
func (f *fetchedKeys) find(id string) (found []jose.JSONWebKey) {
	for _, k := range f.keys {
		if (id == "" || k.KeyID == id) && k.IsPublic() && k.Use != "enc" {
			found = append(found, k)
		}
	}
	return found
}
