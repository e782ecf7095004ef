package authoauth

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
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
	issuer string
	client *http.Client
	kept   kept[*metadata]
}

func newDiscovery(issuer string, client *http.Client, timeout time.Duration, now func() time.Time) *discovery {
	d := &discovery{issuer: issuer, client: client}
	d.kept = kept[*metadata]{fetch: d.fetch, timeout: timeout, now: now}
	return d
}

// get returns the configuration of the last hour, or an older one while there is no newer: it says where
// to ask, and nothing of who may come in.
func (d *discovery) get(ctx context.Context) (*metadata, error) {
	m, err := d.kept.get(ctx, keep)
	if err != nil {
		if old, ok := d.kept.last(); ok {
			return old, nil
		}
	}
	return m, err
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
