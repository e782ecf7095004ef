package authoauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// introspector asks the authorization server about each token (RFC 7662).
type introspector struct {
	config    *Introspection
	oauth     *OAuth
	discovery *discovery
}

func (i *introspector) verify(ctx context.Context, token string) (claims, error) {
	endpoint, err := i.endpoint(ctx)
	if err != nil {
		return nil, err
	}
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	// RFC 6749 section 2.3.1 has both encoded first.
	req.SetBasicAuth(url.QueryEscape(i.config.ClientID), url.QueryEscape(i.config.secret.Value()))
	var c claims
	if err := doJSON(i.oauth.client, req, &c); err != nil {
		return nil, fmt.Errorf("introspection: %w", err)
	}
	if err := i.check(c); err != nil {
		return nil, fmt.Errorf("%w: %w", errRefused, err)
	}
	return c, nil
}

func (i *introspector) endpoint(ctx context.Context) (string, error) {
	if i.config.URL != "" {
		return i.config.URL, nil
	}
	m, err := i.discovery.get(ctx)
	if err != nil {
		return "", err
	}
	if m.Introspection == "" {
		return "", errors.New("the issuer publishes no introspection_endpoint; give its URL in introspection")
	}
	return m.Introspection, nil
}

// check reads the answer, in which all but active may be missing. The audience may not: without it, a
// token for any other service would count.
func (i *introspector) check(c claims) error {
	exp, hasExp := c["exp"].(float64)
	nbf, _ := c["nbf"].(float64)
	now := i.oauth.now()
	switch {
	case c["active"] != true:
		return errors.New("not active")
	case i.oauth.Issuer != "" && c.text("iss") != "" && c.text("iss") != i.oauth.Issuer:
		return fmt.Errorf("issued by %s", c.text("iss"))
	case !slices.Contains(c.list("aud"), i.oauth.Audience):
		return fmt.Errorf("for the audience %q, not for %s", c.list("aud"), i.oauth.Audience)
	case hasExp && !now.Before(time.Unix(int64(exp), 0)):
		return errors.New("expired")
	case now.Add(5 * time.Minute).Before(time.Unix(int64(nbf), 0)):
		return errors.New("not valid yet")
	}
	return nil
}
