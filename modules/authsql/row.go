package authsql

import (
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
	"github.com/caddy-msa/caddy-msa/caddymsa/tableauth"
)

// maxRows is how many rows one user may have: one for each address, where they stand in a table
// of their own.
const maxRows = 1000

// found is what the rows of a user say together, by the name as it is stored.
type found struct {
	fold  names.Case
	name  string
	users map[string]*facts
}

// facts are what the rows of one stored name say.
type facts struct {
	passwords  []string
	digests    []digest
	apps       []app
	addresses  []string
	nets       []string
	disabled   bool
	attributes map[string]string
}

// app is an application password; several rows of one label are several credentials of it.
type app struct{ label, password, expires, nets string }

type digest struct{ realm, ha1 string }

func newFound(c names.Case, name string) *found {
	return &found{fold: c, name: name, users: make(map[string]*facts)}
}

// read takes the rows of that name. Databases may compare otherwise, without regard to accents or to
// spaces at the end: such a row is another user's. Rows that were read before change nothing.
func (f *found) read(rows *sql.Rows) error {
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	for i := range columns {
		columns[i] = strings.ToLower(columns[i])
	}
	if err := checkColumns(columns); err != nil {
		return err
	}
	values, pointers := make([]any, len(columns)), make([]any, len(columns))
	for i := range values {
		pointers[i] = &values[i]
	}
	for n := 0; rows.Next(); n++ {
		if n == maxRows {
			return fmt.Errorf("query: more than %d rows for one user", maxRows)
		}
		if err := rows.Scan(pointers...); err != nil {
			return err
		}
		row := make(map[string]string, len(columns))
		for i, column := range columns {
			row[column] = text(values[i])
		}
		if f.fold.Key(row["username"]) == f.fold.Key(f.name) {
			f.add(row)
		}
	}
	return rows.Err()
}

// user makes a user of what was found, or nil of nothing. Of several whose names are alike it is the one
// of exactly that spelling.
func (f *found) user() (*tableauth.Record, error) {
	spelling := f.name
	switch {
	case len(f.users) == 0:
		return nil, nil
	case f.users[spelling] != nil:
	case len(f.users) == 1:
		for spelling = range f.users {
		}
	default:
		return nil, fmt.Errorf("users %q are the same but for case: keep one of them, or set case exact", slices.Sorted(maps.Keys(f.users)))
	}
	return f.users[spelling].user(spelling)
}

// errQuery begins an error of the operator's in the query.
var errQuery = errors.New("query: the result")

// checkColumns refuses a result that nobody could log in with, or of which it could not be told
// whose it is.
func checkColumns(columns []string) error {
	if !slices.Contains(columns, "username") {
		return fmt.Errorf("%w has no column username, with which the name is compared; add it to SELECT", errQuery)
	}
	proves := false
	for i, column := range columns {
		if slices.Contains(columns[:i], column) {
			return fmt.Errorf("%w has two columns %q; name each with AS", errQuery, column)
		}
		proves = proves || column == "password" || column == "digest_ha1" || column == "scram" || column == "app_password"
	}
	if proves {
		return nil
	}
	return fmt.Errorf("%w has no column password, digest_ha1, scram or app_password", errQuery)
}

func (f *found) add(row map[string]string) {
	u := f.users[row["username"]]
	if u == nil {
		u = &facts{attributes: make(map[string]string)}
		f.users[row["username"]] = u
	}
	u.add(row)
}

func (f *facts) add(row map[string]string) {
	if p := row["password"]; p != "" && !slices.Contains(f.passwords, p) {
		f.passwords = append(f.passwords, p)
	}
	if s := row["scram"]; s != "" {
		if !strings.HasPrefix(s, "{") {
			s = "{SCRAM-SHA-256}" + s
		}
		if !slices.Contains(f.passwords, s) {
			f.passwords = append(f.passwords, s)
		}
	}
	if d := (digest{row["realm"], row["digest_ha1"]}); d.ha1 != "" && !slices.Contains(f.digests, d) {
		f.digests = append(f.digests, d)
	}
	if a := (app{row["app_label"], row["app_password"], row["app_expires"], row["app_allow_nets"]}); a.password != "" && !slices.Contains(f.apps, a) {
		f.apps = append(f.apps, a)
	}
	f.addresses = appendList(f.addresses, row["addresses"])
	f.nets = appendList(f.nets, row["allow_nets"])
	f.disabled = f.disabled || isTrue(row["disabled"])
	for column, value := range row {
		switch column {
		case "username", "password", "scram", "realm", "digest_ha1", "addresses", "allow_nets", "disabled", "app_label", "app_password", "app_expires", "app_allow_nets":
		default:
			if f.attributes[column] == "" { // of several rows, the first that says something
				f.attributes[column] = value
			}
		}
	}
}

// appendList adds what is not in the list yet of a list separated by commas or white space, or
// of an array of PostgreSQL's.
func appendList(list []string, value string) []string {
	if strings.HasPrefix(value, "{") && strings.HasSuffix(value, "}") {
		value = strings.ReplaceAll(value[1:len(value)-1], `"`, "")
	}
	for _, s := range strings.FieldsFunc(value, func(r rune) bool { return r == ',' || unicode.IsSpace(r) }) {
		if !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	return list
}

// isTrue takes everything for true that is not plainly false, so that a time or a reason
// disables too.
func isTrue(value string) bool {
	switch strings.ToLower(value) {
	case "", "0", "f", "false", "n", "no", "off", "\x00":
		return false
	}
	return true
}

func (f *facts) user(name string) (*tableauth.Record, error) {
	// Rows come in any order, but the same user has to look the same each time.
	slices.Sort(f.passwords)
	slices.SortFunc(f.digests, func(a, b digest) int { return strings.Compare(a.realm+"\x00"+a.ha1, b.realm+"\x00"+b.ha1) })
	u, err := passwd.NewUser(name)
	for _, p := range f.passwords {
		if err == nil {
			err = u.AddPassword(p)
		}
	}
	for _, d := range f.digests {
		if err == nil {
			err = u.AddHA1(d.realm, d.ha1)
		}
	}
	slices.SortFunc(f.apps, func(a, b app) int { return strings.Compare(a.label+"\x00"+a.password, b.label+"\x00"+b.password) })
	for _, a := range f.apps {
		if err == nil {
			err = a.add(&u)
		}
	}
	for _, a := range f.addresses {
		if err == nil {
			err = u.AddAddress(a)
		}
	}
	for _, n := range f.nets {
		if err == nil {
			err = u.AddNet(n)
		}
	}
	if err != nil {
		return nil, &unreadable{name, err}
	}
	u.Disabled = u.Disabled || f.disabled
	u.Attributes = f.attributes
	return &tableauth.Record{User: u}, nil
}

// unreadable is of a user whose rows say what nobody can understand.
type unreadable struct {
	name  string
	cause error
}

func (u *unreadable) Error() string { return fmt.Sprintf("user %q: %v", u.name, u.cause) }
func (u *unreadable) Unwrap() error { return u.cause }

// add gives the user an application password. The column has one or several credentials, each after a space.
func (a app) add(u *passwd.User) error {
	var expires time.Time
	if a.expires != "" {
		var err error
		if expires, err = passwd.ParseExpiry(a.expires); err != nil {
			return fmt.Errorf("app_%w", err)
		}
	}
	password := a.password
	if !strings.HasPrefix(password, "{") {
		password = "{CRYPT}" + password // as one of the column password
	}
	return u.AddAppPassword(passwd.FormatAppPassword(a.label, expires, appendList(nil, a.nets), strings.Split(strings.ReplaceAll(password, " {", "\x00{"), "\x00")))
}

// text is a value of a database; NULL is empty.
func text(value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case string:
		return v
	case []byte:
		return string(v)
	case bool:
		return strconv.FormatBool(v)
	case time.Time:
		return v.Format(time.RFC3339)
	}
	return fmt.Sprint(value)
}
