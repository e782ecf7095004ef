package httpautoconfig

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
)

// asked returns the address in one of the parameters of that name, in any case; ok is false if there is none.
func asked(r *http.Request, names ...string) (a mailaddr.Address, ok bool, err error) {
	var all []string // as they came
	for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
		name, value, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		if err == nil && value != "" && slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) }) {
			all = append(all, value)
		}
	}
	switch {
	case len(all) == 0:
		return a, false, nil
	case len(all) > 1:
		return a, false, caddyhttp.Error(http.StatusBadRequest, errors.New("more than one address"))
	}
	// A plus that stands there as it is may be a space, or what people put before a tag.
	for _, unescape := range []func(string) (string, error){url.QueryUnescape, url.PathUnescape} {
		text, err := unescape(all[0])
		if err != nil {
			continue
		}
		if a, err := parseAddress(text); err == nil {
			return a, true, nil
		}
	}
	return a, false, caddyhttp.Error(http.StatusBadRequest, errNoMailbox)
}

var errNoMailbox = errors.New("the address is not a mailbox")

// parseAddress refuses what XML has no characters for, too: it would be another address in the answer.
func parseAddress(text string) (mailaddr.Address, error) {
	if strings.ContainsAny(text, "\ufffe\uffff\ufffd") {
		return mailaddr.Address{}, errNoMailbox
	}
	return mailaddr.Parse(text, true)
}
