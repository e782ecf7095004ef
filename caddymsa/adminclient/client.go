// Package adminclient is how commands reach the running server: through Caddy's admin API.
package adminclient

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/pflag"
)

// Admin is where the admin API is. The zero value is Caddy's default address.
type Admin struct{ address, config, adapter string }

// Flags adds the flags that Caddy's own commands have.
func (a *Admin) Flags(f *pflag.FlagSet) {
	f.StringVar(&a.address, "address", "", "address of the admin API (if --config is not used)")
	f.StringVarP(&a.config, "config", "c", "", "configuration file, to take the admin API's address from")
	f.StringVar(&a.adapter, "adapter", "", "name of the config adapter to apply (if --config is used)")
}

// Get asks for a path and decodes the answer.
func (a *Admin) Get(path string, answer any) error {
	body, err := a.Open(path)
	if err != nil {
		return err
	}
	defer body.Close()
	return json.NewDecoder(body).Decode(answer)
}

// Open asks for a path and returns the answer as it comes.
func (a *Admin) Open(path string) (io.ReadCloser, error) { return a.do(http.MethodGet, path, nil) }

// Post sends a request, which may be nil, and decodes the answer.
func (a *Admin) Post(path string, request, answer any) error {
	b, err := json.Marshal(request)
	if err != nil {
		return err
	}
	body, err := a.do(http.MethodPost, path, b)
	if err != nil {
		return err
	}
	defer body.Close()
	return json.NewDecoder(body).Decode(answer)
}

// do returns what the server said as the error when it refuses.
func (a *Admin) do(method, path string, body []byte) (io.ReadCloser, error) {
	address, err := caddycmd.DetermineAdminAPIAddress(a.address, nil, a.config, a.adapter)
	if err != nil {
		return nil, fmt.Errorf("address of the admin API: %w", err)
	}
	header := http.Header{}
	if body != nil {
		header.Set("Content-Type", "application/json")
	}
	resp, err := caddycmd.AdminAPIRequest(address, method, path, header, bytes.NewReader(body))
	if err != nil {
		return nil, advise(address, err)
	}
	return resp.Body, nil
}

// advise says what to do about an admin API that cannot be reached. Caddy makes texts of the errors below.
func advise(address string, err error) error {
	text := err.Error()
	switch {
	case !strings.Contains(text, ": dial "):
		return err
	case strings.Contains(text, "permission denied"):
		return fmt.Errorf("%w; this user may not use the admin API at %s: run the command as the user that Caddy runs as", err, address)
	}
	return fmt.Errorf("%w; no admin API at %s: is Caddy running, with its admin API on? Name its address with --address, or the configuration with --config", err, address)
}
