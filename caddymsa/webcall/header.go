package webcall

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"golang.org/x/net/http/httpguts"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

// header is what Headers says. What HTTP cannot carry is refused here: no request could be sent with it.
func (c *Config) header() (http.Header, error) {
	h := make(http.Header)
	for _, name := range slices.Sorted(maps.Keys(c.Headers)) {
		if !httpguts.ValidHeaderFieldName(name) {
			return nil, fmt.Errorf("%q is not the name of a header field (for example X-Source)", name)
		}
		if h.Values(name) != nil {
			return nil, fmt.Errorf("%s is specified twice", http.CanonicalHeaderKey(name))
		}
		value, err := conf.Expand(c.Headers[name])
		if err == nil && !httpguts.ValidHeaderFieldValue(value) { // which may be a secret
			err = errors.New("the value has a character in it that a header cannot carry, such as a line break")
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		h.Set(name, value)
	}
	return h, nil
}
