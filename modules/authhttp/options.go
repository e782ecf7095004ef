package authhttp

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
)

// Defaults of settings.
const (
	DefaultTimeout     = 5 * time.Second
	DefaultConcurrency = 64
)

// defaultDecoy is what `caddy msa user` writes by default.
const defaultDecoy = "ARGON2ID SCRAM-SHA-256"

// minHMACKey is in octets: a shorter key could be found by trying.
const minHMACKey = 16

// options are settings without placeholders, which can be compared: who has the same shares a service.
type options struct {
	bearer, hmacKey string
	rest            string // of how to reach the service
	timeout         time.Duration
	concurrent      int
	decoy           string
}

// resolve checks the settings that are not webcall's and replaces placeholders.
func (h *HTTP) resolve(log *zap.Logger) (options, error) {
	o := options{timeout: time.Duration(h.Timeout), concurrent: h.Concurrency, decoy: strings.Join(h.Decoy, " ")}
	if o.timeout == 0 {
		o.timeout = DefaultTimeout
	}
	if o.concurrent == 0 {
		o.concurrent = DefaultConcurrency
	}
	if o.decoy == "" && h.Credentials {
		o.decoy = defaultDecoy
	}
	switch {
	case o.decoy != "" && !h.Credentials:
		return o, errors.New("decoy is for credentials on; otherwise the service sees to it that nobody learns who exists")
	case o.timeout < 0 || o.concurrent < 0 || h.Cache < 0:
		return o, errors.New("timeout, concurrency and cache cannot be negative")
	case h.Cache > 0 && h.NoLookup && !h.Credentials:
		return o, errors.New("cache needs the action lookup: without it, users who are gone would still be let in")
	}
	bearer, err := h.Bearer.Resolve("bearer", log)
	if err != nil {
		return o, err
	}
	key, err := h.HMACKey.Resolve("hmac_key", log)
	if err != nil {
		return o, err
	}
	o.bearer, o.hmacKey = bearer.Value(), key.Value()
	if o.hmacKey != "" && len(o.hmacKey) < minHMACKey {
		return o, fmt.Errorf("hmac_key: is shorter than %d octets; make one with openssl rand -hex 32", minHMACKey)
	}
	o.rest, err = h.reach()
	return o, err
}

// reach has all that makes another client, beside the secrets. CA certificates are read when the config is loaded.
func (h *HTTP) reach() (string, error) {
	repl := caddy.NewReplacer()
	tls, err := h.TLSClient.Digest()
	if err != nil {
		return "", err
	}
	parts := []string{h.URL, h.Socket, string(tls[:])}
	for _, name := range slices.Sorted(maps.Keys(h.Headers)) {
		parts = append(parts, name, h.Headers[name])
	}
	for i := range parts {
		parts[i] = repl.ReplaceAll(parts[i], "")
	}
	return fmt.Sprintf("%t %q", h.InsecurePlaintext, parts), nil
}
