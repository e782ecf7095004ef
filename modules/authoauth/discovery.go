package authoauth

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
)

// wellKnown is where an issuer publishes its configuration (OpenID Connect Discovery section 4).
const wellKnown = "/.well-known/openid-configuration"

// metadata is as much of an issuer's configuration as counts here.
type metadata struct {
	Issuer        string `json:"issuer"`
	JWKS          string `json:"jwks_uri"`
	Introspection string `json:"introspection_endpoint"`
}

// discovery fetches an issuer's configuration when it is first needed, and keeps it.
type discovery struct {
	issuer  string
	client  *http.Client
	timeout time.Duration

	fetching singleflight.Group
	found    atomic.Pointer[metadata]
}

func (d *discovery) get(ctx context.Context) (*metadata, error) {
	if m := d.found.Load(); m != nil {
		return m, nil
	}
	return once(ctx, &d.fetching, d.timeout, func(ctx context.Context) (*metadata, error) {
		m, err := d.fetch(ctx)
		if err == nil {
			d.found.Store(m)
		}
		return m, err
	})
}

func (d *discovery) fetch(ctx context.Context) (*metadata, error) {
	m := new(metadata)
	url := strings.TrimSuffix(d.issuer, "/") + wellKnown
	if err := getJSON(ctx, d.client, url, m); err != nil {
		return nil, err
	}
	if m.Issuer != d.issuer { // section 4.3
		return nil, fmt.Errorf("%s says that it is of %q, and the issuer is configured as %q", url, m.Issuer, d.issuer)
	}
	for _, u := range []string{m.JWKS, m.Introspection} {
		if u != "" {
			if err := checkURL(u); err != nil {
				return nil, fmt.Errorf("%s: %w", url, err)
			}
		}
	}
	return m, nil
}

// once has many callers wait for one fetch, each as long as its own context lasts. The fetch
// has a time of its own, so that it does not fail for all when the first caller goes.
func once[T any](ctx context.Context, group *singleflight.Group, timeout time.Duration, fetch func(context.Context) (T, error)) (value T, err error) {
	result := group.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
		defer cancel()
		return fetch(ctx)
	})
	select {
	case r := <-result:
		if r.Err != nil {
			return value, r.Err
		}
		return r.Val.(T), nil
	case <-ctx.Done():
		return value, ctx.Err()
	}
}

// maxAnswer bounds what is read of an authorization server's answers.
const maxAnswer = 1 << 20

func getJSON(ctx context.Context, client *http.Client, url string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	return doJSON(client, req, into)
}

// doJSON wants 200 and JSON.
func doJSON(client *http.Client, req *http.Request, into any) error {
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "caddy-msa")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("%s: %w", req.URL, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", req.URL, resp.Status)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("%s: %w", req.URL, err)
	}
	return nil
}
