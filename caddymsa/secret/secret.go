// Package secret holds what a configuration keeps from logs and printing.
package secret

import (
	"fmt"
	"io"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
)

// Secret is a configured password or key, best a placeholder such as {env.NAME} or {file./path}: a
// literal one is shown by the admin API. It is marshalled as it is, being part of the
// configuration, and printed as REDACTED, whatever the verb.
type Secret string

const redacted = "REDACTED"

// String returns REDACTED, or nothing for an empty secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// Format prints String.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// Resolve puts in what the placeholders stand for, and warns of a literal secret. name is
// the setting's. The result is a function, so that nothing prints it.
func (s Secret) Resolve(name string, log *zap.Logger) (func() string, error) {
	value, err := caddy.NewReplacer().ReplaceOrErr(string(s), true, true)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if value != "" && value == string(s) {
		log.Warn("a secret stands in the configuration, which the admin API shows; use {env.NAME} or {file./path}", zap.String("setting", name))
	}
	return func() string { return value }, nil
}
