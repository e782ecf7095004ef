package authsql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
	"github.com/caddy-msa/caddy-msa/caddymsa/sqldb"
	"github.com/caddy-msa/caddy-msa/caddymsa/tableauth"
)

// What statements are called.
const (
	doList      = "list"
	doDisable   = "disable"
	doEnable    = "enable"
	doDelete    = "delete"
	doRename    = "rename"
	doAddApp    = "add_app_password"
	doRevokeApp = "revoke_app_password"
)

var doings = []string{doList, doDisable, doEnable, doDelete, doRename, doAddApp, doRevokeApp}

const (
	addApp = "INSERT INTO msa_app_passwords (username, label, password, expires, allow_nets) VALUES ({user}, {label}, {password}, {expires}, {allow_nets})"
	// listed is more than a page: what is left unread of an answer is sent all the same.
	listed    = " ORDER BY username LIMIT 1000"
	revokeApp = "DELETE FROM msa_app_passwords WHERE username = {user} AND lower(label) = lower({label})"
)

// defaultStatements are for the tables of the documentation.
func defaultStatements(apps AppPasswords) map[string][]string {
	if apps == AppPasswordsOnly {
		return map[string][]string{
			doList:      {"SELECT DISTINCT username FROM msa_app_passwords WHERE username > {after}" + listed},
			doDelete:    {"DELETE FROM msa_app_passwords WHERE username = {user}"},
			doRename:    {"UPDATE msa_app_passwords SET username = {to} WHERE username = {user}"},
			doAddApp:    {addApp},
			doRevokeApp: {revokeApp},
		}
	}
	all := map[string][]string{
		doList:    {"SELECT username FROM msa_users WHERE username > {after}" + listed},
		doDisable: {"UPDATE msa_users SET disabled = TRUE WHERE username = {user}"},
		doEnable:  {"UPDATE msa_users SET disabled = FALSE WHERE username = {user}"},
		doDelete:  {"DELETE FROM msa_users WHERE username = {user}"},
		doRename:  {"UPDATE msa_users SET username = {to} WHERE username = {user}"},
	}
	if apps == AppPasswordsToo {
		all[doAddApp] = []string{addApp}
		all[doRevokeApp] = []string{revokeApp}
		all[doDelete] = append(all[doDelete], "DELETE FROM msa_app_passwords WHERE username = {user}")
		all[doRename] = append(all[doRename], "UPDATE msa_app_passwords SET username = {to} WHERE username = {user}")
	}
	return all
}

// keeper changes users by statements.
type keeper struct {
	ofOwn      bool // the query is the operator's, and so are the statements
	statements map[string][]sqldb.Query
	src        *source
}

// newKeeper prepares what is configured: the default statements go with the default query.
func (s *SQL) newKeeper(src *source) (*keeper, error) {
	statements := s.Statements
	if s.Query == "" {
		statements = defaultStatements(s.AppPasswords)
		maps.Copy(statements, s.Statements)
	}
	k := &keeper{ofOwn: s.Query != "", src: src, statements: make(map[string][]sqldb.Query)}
	for _, name := range slices.Sorted(maps.Keys(statements)) {
		if !slices.Contains(doings, name) {
			return nil, fmt.Errorf("statements: %q is not known; there are %s", name, strings.Join(doings, ", "))
		}
		for _, text := range statements[name] {
			q, err := src.db.Parse(text, "user", "to", "after", "label", "password", "expires", "allow_nets")
			if err != nil {
				return nil, fmt.Errorf("statements: %s: %w", name, err)
			}
			k.statements[name] = append(k.statements[name], q)
		}
	}
	return k, nil
}

func (k *keeper) queries(name string) ([]sqldb.Query, error) {
	if q := k.statements[name]; len(q) > 0 {
		return q, nil
	}
	if !k.ofOwn {
		return nil, fmt.Errorf("%w: the default tables here have no place for it; say how in the setting statements { %s \"...\" } of sql", caddymsa.ErrNotChangeable, name)
	}
	return nil, fmt.Errorf("%w: the query is your own, so say how in the setting statements { %s \"...\" } of sql", caddymsa.ErrNotChangeable, name)
}

// Users implements passwd.Keeper. Who asks for a page takes a short one for the last.
func (s *SQL) Users(ctx context.Context, after string, limit int) (all []passwd.Summary, err error) {
	for seen := make(map[string]bool); len(all) < limit; {
		found, err := s.names(ctx, after, limit-len(all))
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			break
		}
		for _, name := range found {
			if seen[name] { // the statement pays no heed to {after}
				return all, nil
			}
			seen[name], after = true, name
			if err := passwd.CheckName(name); err != nil {
				all = append(all, passwd.Summary{Name: name, Problem: err.Error()})
				continue
			}
			one, err := s.User(ctx, name)
			switch {
			case errors.Is(err, caddymsa.ErrUnknownUser): // gone meanwhile
			case err != nil && ctx.Err() == nil:
				all = append(all, passwd.Summary{Name: name, Problem: err.Error()})
			case err != nil:
				return nil, err
			default:
				all = append(all, one)
			}
		}
	}
	return all, nil
}

// names are those behind one, at most limit.
func (s *SQL) names(ctx context.Context, after string, limit int) (found []string, err error) {
	q, err := s.keeper.queries(doList)
	if err != nil {
		return nil, err
	}
	err = s.keeper.src.db.Ask(ctx, q[0], func(string) string { return after }, func(rows *sql.Rows) error {
		found = nil
		for rows.Next() && len(found) < limit {
			var name any
			if err := rows.Scan(&name); err != nil {
				return fmt.Errorf("list: %w; the statement returns one column, the name", err)
			}
			found = append(found, text(name))
		}
		return rows.Err()
	})
	return found, err
}

// User implements passwd.Keeper.
func (s *SQL) User(ctx context.Context, name string) (passwd.Summary, error) {
	rec, err := s.record(ctx, name)
	if err != nil {
		return passwd.Summary{}, err
	}
	return rec.Summary(), nil
}

// record is a user for operators, who can see, disable and delete one whose rows cannot be read.
func (s *SQL) record(ctx context.Context, name string) (*tableauth.Record, error) {
	if passwd.CheckName(name) != nil {
		return nil, caddymsa.ErrUnknownUser
	}
	rec, err := s.keeper.src.fetch(ctx, s.Case, name)
	if bad, ok := errors.AsType[*unreadable](err); ok {
		return &tableauth.Record{User: passwd.User{Name: bad.name, Problem: bad}}, nil
	}
	if err == nil && rec == nil {
		err = caddymsa.ErrUnknownUser
	}
	return rec, err
}

// ChangeUser implements passwd.Keeper.
func (s *SQL) ChangeUser(ctx context.Context, name string, change passwd.Change) (note string, err error) {
	rec, err := s.record(ctx, name)
	if errors.Is(err, caddymsa.ErrUnknownUser) && change.AddApp != nil && change.New {
		var u passwd.User
		if u, err = passwd.NewUser(name); err != nil {
			return "", fmt.Errorf("%w: %w", passwd.ErrRefused, err)
		}
		rec = &tableauth.Record{User: u}
	}
	if err != nil {
		return "", err
	}
	do, bound := "", map[string]any{"user": rec.Name, "to": change.Rename, "label": change.RevokeApp}
	switch {
	case change.Disable:
		do = doDisable
	case change.Enable:
		do = doEnable
	case change.Delete:
		do = doDelete
	case change.Rename != "":
		do = doRename
		if note, err = s.mayRename(ctx, rec, change.Rename); err != nil {
			return "", err
		}
	case change.AddApp != nil:
		do = doAddApp
		if err := rec.CheckNewApp(change.AddApp.Label); err != nil {
			return "", err
		}
		if err := rec.AddAppPassword(change.AddApp.Text()); err != nil {
			return "", fmt.Errorf("%w: %w", passwd.ErrRefused, err)
		}
		bound["label"], bound["password"], bound["allow_nets"] = change.AddApp.Label, strings.Join(change.AddApp.Credentials, " "), strings.Join(change.AddApp.Nets, ",")
		if !change.AddApp.Expires.IsZero() { // else NULL
			bound["expires"] = passwd.FormatExpiry(change.AddApp.Expires)
		}
	case change.RevokeApp != "":
		do = doRevokeApp
		if rec.With(change.RevokeApp) == nil && rec.Problem == nil {
			return "", passwd.ErrNoApp
		}
	}
	q, err := s.keeper.queries(do)
	if err != nil {
		return "", err
	}
	return note, s.keeper.src.db.Do(ctx, q, func(parameter string) any { return bound[parameter] })
}

// mayRename tells whether the name is free, and what is lost.
func (s *SQL) mayRename(ctx context.Context, rec *tableauth.Record, to string) (note string, err error) {
	if err := passwd.CheckName(to); err != nil {
		return "", fmt.Errorf("%w: %w", passwd.ErrRefused, err)
	}
	switch other, err := s.record(ctx, to); {
	case err == nil && other.Name != rec.Name:
		return "", fmt.Errorf("%w: there is a user %q", passwd.ErrRefused, other.Name)
	case err != nil && !errors.Is(err, caddymsa.ErrUnknownUser):
		return "", err
	}
	stored := slices.Clone(rec.Credentials)
	for i := range rec.Apps {
		stored = append(stored, rec.Apps[i].Credentials...)
	}
	for _, c := range stored {
		if strings.HasPrefix(c.Scheme(), "DIGEST-MD5") {
			note = "what is stored for DIGEST-MD5 was hashed with the old name and serves no more; give the user another password"
		}
	}
	return note, nil
}

func (s *SQL) statementSettings() (all []conf.Setting) {
	for _, name := range doings {
		all = append(all, conf.Each(name, s.readStatement))
	}
	return all
}

// readStatement reads one line of statements. Those of one name add up, and are one transaction.
func (s *SQL) readStatement(d *caddyfile.Dispenser) error {
	name := d.Val()
	var statement string
	if !d.AllArgs(&statement) {
		return d.Errf("%s takes a statement, in quotes", name)
	}
	if s.Statements == nil {
		s.Statements = make(map[string][]string)
	}
	s.Statements[name] = append(s.Statements[name], statement)
	return nil
}

// Interface guard
var _ passwd.Keeper = (*SQL)(nil)
