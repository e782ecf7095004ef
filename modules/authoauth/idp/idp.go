// Package idp is an OpenID provider for tests: zitadel's, with its example's storage. It gives
// tokens for client credentials, which stand for alice@example.org.
package idp

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// What the provider knows: a client that gets tokens, and one that may ask about them, which
// is also what the tokens are for.
const (
	ClientID, ClientSecret = "sid1", "verysecret"
	Audience, Secret       = "caddy-msa", "geheim"
	Email                  = "alice@example.org"
	Scope                  = "mail.send"
)

// Serve runs the provider whose issuer is http://address, until it fails.
func Serve(address string) error {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	issuer := "http://" + address
	clients := map[string]*storage.Client{Audience: storage.WebClient(Audience, Secret)}
	s := &store{Storage: storage.NewStorageWithClients(storage.NewUserStore(issuer), clients), revoked: make(map[string]bool)}
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	return (&http.Server{Handler: exampleop.SetupServer(issuer, s, quiet, false, op.WithAllowInsecure()), ReadHeaderTimeout: time.Minute}).Serve(ln)
}

// store has the claims and the audience that a mail server needs.
type store struct {
	*storage.Storage

	mu      sync.Mutex
	revoked map[string]bool
}

// client gets tokens of a kind.
type client struct {
	*storage.Client
	kind op.AccessTokenType
}

func (c client) AccessTokenType() op.AccessTokenType { return c.kind }

// ClientCredentials implements op.ClientCredentialsStorage. The password tells which
// kind of token is wanted.
func (s *store) ClientCredentials(ctx context.Context, id, secret string) (op.Client, error) {
	kind := op.AccessTokenTypeJWT
	if plain, ok := strings.CutSuffix(secret, "-opaque"); ok {
		secret, kind = plain, op.AccessTokenTypeBearer
	}
	c, err := s.Storage.ClientCredentials(ctx, id, secret)
	if err != nil {
		return nil, err
	}
	return client{c.(*storage.Client), kind}, nil
}

// ClientCredentialsTokenRequest implements op.ClientCredentialsStorage.
func (s *store) ClientCredentialsTokenRequest(_ context.Context, id string, scopes []string) (op.TokenRequest, error) {
	return &oidc.JWTTokenRequest{Subject: id, Audience: []string{Audience, "other"}, Scopes: scopes}, nil
}

// GetPrivateClaimsFromScopes implements op.Storage.
func (s *store) GetPrivateClaimsFromScopes(_ context.Context, _, _ string, scopes []string) (map[string]any, error) {
	return map[string]any{"email": Email, "email_verified": true, "scope": strings.Join(scopes, " "), "addresses": []string{"@example.net"}, "per_hour": 250}, nil
}

// SetIntrospectionFromToken implements op.Storage: an error means that the token is not active.
func (s *store) SetIntrospectionFromToken(_ context.Context, r *oidc.IntrospectionResponse, tokenID, subject, _ string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.revoked[tokenID] {
		return fmt.Errorf("token %s of %s was revoked", tokenID, subject)
	}
	r.Subject, r.Audience, r.Expiration = subject, oidc.Audience{Audience}, oidc.FromTime(time.Now().Add(time.Hour))
	r.Claims = map[string]any{"per_hour": 250}
	r.Email, r.Scope = Email, oidc.SpaceDelimitedArray{Scope}
	return nil
}

// RevokeToken implements op.Storage.
func (s *store) RevokeToken(_ context.Context, tokenID, _, _ string) *oidc.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revoked[tokenID] = true
	return nil
}

// Token gets one from the provider at address: a JWT, or an opaque one.
func Token(address string, opaque bool) (string, error) {
	secret := ClientSecret
	if opaque {
		secret += "-opaque"
	}
	var answer struct {
		Token string `json:"access_token"`
		Error string `json:"error_description"`
	}
	err := post("http://"+address+"/oauth/token", ClientID, secret, url.Values{"grant_type": {"client_credentials"}, "scope": {Scope}}, &answer)
	if err == nil && answer.Token == "" {
		err = fmt.Errorf("no token: %s", answer.Error)
	}
	return answer.Token, err
}

// Revoke takes a token back.
func Revoke(address, token string) error {
	return post("http://"+address+"/revoke", Audience, Secret, url.Values{"token": {token}}, nil)
}

func post(endpoint, user, password string, form url.Values, answer any) error {
	req, err := http.NewRequest(http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(user, password)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || answer == nil {
		return err
	}
	if err := json.Unmarshal(body, answer); err != nil {
		return fmt.Errorf("%s: %s: %w", resp.Status, body, err)
	}
	return nil
}
