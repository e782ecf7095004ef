package sinkrelay

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
	"golang.org/x/sync/singleflight"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

// OAuth gets tokens with client credentials (RFC 6749 section 4.4), and another when one has expired
// or was refused.
type OAuth struct {
	// TokenURL of the provider, https. Required.
	TokenURL string `json:"token_url,omitempty"`
	// ClientID and ClientSecret are the client's. Required.
	ClientID     string      `json:"client_id,omitempty"`
	ClientSecret conf.Secret `json:"client_secret,omitempty"`
	// Scopes that are asked for. Default: the provider's.
	Scopes []string `json:"scopes,omitempty"`
	// Audience is a parameter that some providers want. Default: none.
	Audience string `json:"audience,omitempty"`
}

// tokenTimeout is how long the provider may take.
const tokenTimeout = 30 * time.Second

// tokens keeps the one that is in use.
type tokens struct {
	config clientcredentials.Config
	secret conf.Resolved
	http   *http.Client

	asking singleflight.Group

	mu    sync.Mutex
	token *oauth2.Token
}

func (o *OAuth) resolve(log *zap.Logger) (*tokens, error) {
	text, err := conf.Expand(o.TokenURL)
	if err != nil {
		return nil, fmt.Errorf("token_url: %w", err)
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && conf.IsLoopback(u.Hostname())) {
		return nil, errors.New("token_url: an https URL is required, such as https://login.example.org/token")
	}
	id, err := conf.Expand(o.ClientID)
	if err != nil {
		return nil, fmt.Errorf("client_id: %w", err)
	}
	if id == "" || o.ClientSecret == "" {
		return nil, errors.New("client_id and client_secret are required")
	}
	if err := conf.ExpandAll(conf.PlaceList("scopes", o.Scopes), conf.Place("audience", &o.Audience)); err != nil {
		return nil, err
	}
	t := &tokens{config: clientcredentials.Config{ClientID: id, TokenURL: u.String(), Scopes: o.Scopes}}
	if o.Audience != "" {
		t.config.EndpointParams = url.Values{"audience": {o.Audience}}
	}
	if t.secret, err = o.ClientSecret.Resolve("client_secret", log); err != nil {
		return nil, err
	}
	t.http = &http.Client{Timeout: tokenTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return t, nil
}

// get returns a token that is still good for some seconds. Whoever wants one while the provider is asked has the same answer.
func (t *tokens) get(ctx context.Context) (string, error) {
	if token := t.kept(); token.Valid() {
		return token.AccessToken, nil
	}
	select {
	case r := <-t.asking.DoChan("", t.ask): // which goes on when the one who asked first goes away
		if r.Err != nil {
			return "", fmt.Errorf("get a token: %w", r.Err)
		}
		return r.Val.(*oauth2.Token).AccessToken, nil
	case <-ctx.Done():
		return "", fmt.Errorf("get a token: %w", ctx.Err())
	}
}

func (t *tokens) kept() *oauth2.Token {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.token
}

// ask asks the provider, who has tokenTimeout.
func (t *tokens) ask() (any, error) {
	if token := t.kept(); token.Valid() { // it came meanwhile
		return token, nil
	}
	config := t.config
	config.ClientSecret = t.secret.Value()
	token, err := config.Token(context.WithValue(context.Background(), oauth2.HTTPClient, t.http))
	if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok { // its text has the whole answer
		return nil, fmt.Errorf("status %s, %s", refused.Response.Status, refused.ErrorCode)
	}
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.token = token
	return token, nil
}

// drop forgets a token that was refused.
func (t *tokens) drop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.token = nil
}
