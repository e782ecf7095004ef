package cmduser

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
)

// dialects are the databases of msa.auth.sql, each with what follows VALUES (...) to change a
// user who is there already, and the column's new value therein.
var dialects = map[string]struct{ conflict, value string }{
	"postgres": {"ON CONFLICT (username) DO UPDATE SET", "excluded.%s"},
	"sqlite":   {"ON CONFLICT (username) DO UPDATE SET", "excluded.%s"},
	"mysql":    {"ON DUPLICATE KEY UPDATE", "VALUES(%s)"}, // of MariaDB too
}

// sql is the user as a statement for the default table of msa.auth.sql. As in a users file, a
// user who is there gets another password, keeps addresses unless some are given, and is
// not enabled by it.
func (u user) sql(dialect string) (string, error) {
	d := dialects[dialect]
	stored, err := passwd.NewUser(u.name)
	if err != nil {
		return "", err
	}
	password := strings.Join(u.credentials, " ")
	if err := stored.AddPassword(password); err != nil {
		return "", err
	}
	if len(stored.Credentials) != len(u.credentials) {
		return "", errors.New("a credential cannot stand beside others")
	}
	for _, a := range u.addresses {
		if err := stored.AddAddress(a); err != nil {
			return "", err
		}
		if strings.ContainsAny(a, ", \t") {
			return "", fmt.Errorf("addresses: %q cannot stand in a list", a)
		}
	}
	columns, values := []string{"username", "password"}, []string{literal(dialect, u.name), literal(dialect, password)}
	if u.setAddresses {
		columns, values = append(columns, "addresses"), append(values, literal(dialect, strings.Join(u.addresses, ",")))
	}
	var set []string
	for _, c := range columns[1:] {
		set = append(set, c+" = "+fmt.Sprintf(d.value, c))
	}
	return fmt.Sprintf("INSERT INTO msa_users (%s) VALUES (%s) %s %s;", strings.Join(columns, ", "), strings.Join(values, ", "), d.conflict, strings.Join(set, ", ")), nil
}

// literal quotes text. Whether a backslash means something in quotes is a matter of settings, which
// nobody knows here, so that MySQL gets such a text in hexadecimal and PostgreSQL says how it is meant.
func literal(dialect, s string) string {
	switch {
	case !strings.Contains(s, `\`) || dialect == "sqlite":
		return "'" + strings.ReplaceAll(s, "'", "''") + "'"
	case dialect == "postgres":
		return "E'" + strings.NewReplacer("'", "''", `\`, `\\`).Replace(s) + "'"
	}
	return "_utf8mb4 X'" + hex.EncodeToString([]byte(s)) + "'"
}
