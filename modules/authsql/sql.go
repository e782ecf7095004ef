// Package authsql authenticates the users of a database: PostgreSQL, MySQL or MariaDB, SQLite.
package authsql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/authcache"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/sqldb"
	"github.com/caddy-msa/caddy-msa/caddymsa/tableauth"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
)

func init() {
	caddy.RegisterModule(new(SQL))
}

// DefaultQuery asks the table that docs/auth-sql.md makes. MySQL's compares without regard to case by
// its collation, and uses its index for that.
func DefaultQuery(driver string, c names.Case, apps AppPasswords) string {
	where := "lower(u.username) = lower({user})"
	if driver == "mysql" || c == names.Exact {
		where = "u.username = {user}"
	}
	switch apps {
	case AppPasswordsOnly:
		return "SELECT u.username, u.label AS app_label, u.password AS app_password, u.expires AS app_expires, u.allow_nets AS app_allow_nets FROM msa_app_passwords u WHERE " + where
	case AppPasswordsToo:
		return "SELECT u.username, u.password, u.addresses, u.allow_nets, u.disabled, a.label AS app_label, a.password AS app_password, a.expires AS app_expires, a.allow_nets AS app_allow_nets " +
			"FROM msa_users u LEFT JOIN msa_app_passwords a ON a.username = u.username WHERE " + where
	}
	return "SELECT username, password, addresses, allow_nets, disabled FROM msa_users u WHERE " + where
}

// Defaults of settings.
const (
	DefaultTimeout     = 5 * time.Second
	DefaultConnections = 8
)

// defaultDecoy is what `caddy msa user` writes by default.
const defaultDecoy = "ARGON2ID SCRAM-SHA-256"

// SQL authenticates users that a query finds in a database. Columns of the result that count:
//
//	username     the name as it is stored, compared with the one that the client gave; required
//	password     as in a users file: {SCHEME}value, or several, each after a space
//	digest_ha1   an HA1 for DIGEST-MD5, hexadecimal; with the column realm, of the whole name in that realm
//	scram        a SCRAM-SHA-256 key: iterations,salt,StoredKey,ServerKey
//	addresses    that the user may send as, separated by commas or spaces, or one a row
//	allow_nets   that the user may come from, written likewise
//	app_label    of an application password, one a row; with
//	app_password, app_expires, app_allow_nets
//	disabled     anything but NULL, 0, false, no, n, f, off and an empty text
//
// Any other becomes an attribute of the identity. Every login asks the database, and so does
// every message of an open session. A database that does not answer is never a refusal:
// the client is told to try again.
type SQL struct {
	// Driver is the kind of database: postgres, mysql (MariaDB too) or sqlite.
	Driver string `json:"driver,omitempty"`

	// DSN says where it is: for postgres a URL or keywords as for psql, for mysql
	// user@tcp(host:port)/database, for sqlite a path or a file: URI. Required. Placeholders are
	// resolved once, when the configuration is loaded.
	DSN string `json:"dsn,omitempty"`

	// Password to connect with, in place of one in the DSN: nothing in it has to be escaped.
	// Placeholders as in the DSN; {env.*} or {file.*} keep it out of the configuration.
	Password conf.Secret `json:"password,omitempty"`

	// Query for one user. {user} is the name as the client gave it, {local} and {domain} what
	// stands before and after its last "@"; they become parameters of the statement and
	// stand without quotes. For a name with capitals it is asked again in lower case. Default: the table
	// msa_users of the documentation.
	Query string `json:"query,omitempty"`

	// AppPasswords has the default query ask the table msa_app_passwords too, and says of a query of your own that it has the columns
	// app_*: users may log in with name+label. "only" asks that table alone, for msa.auth.app_passwords.
	AppPasswords AppPasswords `json:"app_passwords,omitempty"`

	// Statements change users, by what they do: list, disable, enable, delete, rename, add_app_password and revoke_app_password. {user} is the name
	// as it is stored, {to}, {label}, {password}, {expires} and {allow_nets} what is new, {after} the name that a list begins after. Several are
	// one transaction. Default: those of the tables of the documentation, with the default query; else there are none.
	Statements map[string][]string `json:"statements,omitempty"`

	// Timeout of a question, and of making a connection. Default 5s.
	Timeout conf.Duration `json:"timeout,omitempty"`

	// Case is how names compare: fold, without regard to case, or exact. Default fold.
	Case names.Case `json:"case,omitempty"`

	// Concurrency is how many questions are asked at once, each on a connection of its own. Default 8.
	Concurrency int `json:"concurrency,omitempty"`

	// Cache is how long a password that was right is not hashed again, while what is stored of
	// the user stays the same: the database is asked all the same. Default: always hash.
	Cache conf.Duration `json:"cache,omitempty"`

	// Decoy is what an unknown name is checked against until a first real user was seen: schemes, or
	// credentials with the parameters that are in use. Default ARGON2ID and SCRAM-SHA-256.
	Decoy []string `json:"decoy,omitempty"`

	*tableauth.Remote `json:"-"`

	keeper     *keeper
	complaints *tableauth.Complaints
	key        *options // of the source, if this holds one
	log        *zap.Logger
}

// CaddyModule returns the Caddy module information.
func (*SQL) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.auth.sql", New: func() caddy.Module { return new(SQL) }}
}

// Provision asks for a user once: a mistake in the connection string or the query fails the
// load. A database that does not answer does not.
func (s *SQL) Provision(ctx caddy.Context) error {
	s.log = terminal.Logger(ctx.Logger())
	o, err := s.resolve()
	if err != nil {
		return err
	}
	secret, err := caddymsa.DecoySecret(ctx)
	if err != nil {
		return err
	}
	pooled, _, err := sources.LoadOrNew(o, func() (caddy.Destructor, error) { return newSource(o) })
	if err != nil {
		return err
	}
	s.key, s.complaints = &o, new(tableauth.Complaints)
	src := pooled.(*source)
	if s.keeper, err = s.newKeeper(src); err != nil {
		return err
	}
	if s.Password == "" && src.db.Literal(s.DSN) {
		s.log.Warn(conf.DatabasePassword)
	}
	s.Remote = tableauth.NewRemote(s.fetch(src), src.seen, secret, authcache.New(time.Duration(s.Cache), nil))
	s.Remote.Case, s.Remote.AppPasswords = s.Case, s.AppPasswords != NoAppPasswords
	if _, err := src.fetch(ctx, s.Case, "nobody@invalid"); err != nil {
		if src.mistaken(err) {
			return err
		}
		s.log.Warn("the database does not answer; logins have to wait until it does", zap.Error(err))
	}
	return nil
}

// fetch is a tableauth.Fetch.
func (s *SQL) fetch(src *source) tableauth.Fetch {
	return func(ctx context.Context, name string) (*tableauth.Record, error) {
		rec, err := src.fetch(ctx, s.Case, name)
		if rec != nil && rec.Problem != nil && s.complaints.Due(rec.Name) {
			s.log.Error("a stored password cannot be used", zap.String("user", rec.Name), zap.Error(rec.Problem))
		}
		return rec, err
	}
}

// resolve checks the settings and replaces placeholders.
func (s *SQL) resolve() (options, error) {
	o := options{query: s.Query, decoy: strings.Join(s.Decoy, " "),
		Options: sqldb.Options{Driver: s.Driver, Timeout: time.Duration(s.Timeout), Connections: s.Concurrency}}
	if !slices.Contains(sqldb.Names, o.Driver) {
		return o, fmt.Errorf("driver %q is not known; there are %s", o.Driver, strings.Join(sqldb.Names, ", "))
	}
	var err error
	if o.DSN, err = conf.Expand(s.DSN); err != nil {
		return o, fmt.Errorf("dsn: %w", err)
	}
	password, err := s.Password.Resolve("password", s.log)
	if err != nil {
		return o, err
	}
	o.Password = password.Value()
	if o.DSN == "" {
		return o, errors.New("dsn is required, as in sql sqlite /var/lib/msa/users.db")
	}
	if o.query == "" {
		o.query = DefaultQuery(o.Driver, s.Case, s.AppPasswords)
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Connections == 0 {
		o.Connections = DefaultConnections
	}
	if o.decoy == "" {
		o.decoy = defaultDecoy
	}
	if o.Timeout < 0 || o.Connections < 0 || s.Cache < 0 {
		return o, errors.New("timeout, concurrency and cache cannot be negative")
	}
	return o, nil
}

// mistaken tells whether only the operator can help.
func (s *source) mistaken(err error) bool { return errors.Is(err, errQuery) || s.db.Mistake(err) }

// Cleanup gives the connections back, which the next configuration may use already.
func (s *SQL) Cleanup() error {
	if s.key == nil {
		return nil
	}
	_, err := sources.Delete(*s.key)
	s.key = nil
	return err
}

// UnmarshalCaddyfile sets up the backend from Caddyfile tokens. Syntax:
//
//	sql postgres|mysql|sqlite <dsn> {
//		password    <password>
//		query       <query>
//		app_passwords [only]
//		statements {
//			<what> <statement>
//		}
//		timeout     <duration>
//		concurrency <number>
//		cache       <duration>|off
//		case        fold|exact
//		decoy       <scheme or credential...>
//	}
func (s *SQL) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the backend's name
	if !d.Args(&s.Driver, &s.DSN) {
		return d.Err("sql takes a driver and where the database is, as in sql sqlite /var/lib/msa/users.db")
	}
	if err := conf.OneOf(s.Driver, sqldb.Names...); err != nil {
		return d.Errf("sql: driver: %w", err)
	}
	return conf.Block(d,
		conf.Value("password", &s.Password),
		conf.Text("query", &s.Query),
		s.AppPasswords.setting("app_passwords"),
		conf.Sub("statements", s.statementSettings()...),
		conf.Value("timeout", &s.Timeout),
		conf.Count("concurrency", &s.Concurrency),
		conf.DurationOr("cache", &s.Cache, "off", 0),
		conf.Value("case", &s.Case),
		conf.List("decoy", &s.Decoy),
	)
}

// Interface guards
var (
	_ caddy.Provisioner         = (*SQL)(nil)
	_ caddy.CleanerUpper        = (*SQL)(nil)
	_ caddyfile.Unmarshaler     = (*SQL)(nil)
	_ caddymsa.PasswordVerifier = (*SQL)(nil)
	_ caddymsa.DigestStore      = (*SQL)(nil)
	_ caddymsa.SCRAMStore       = (*SQL)(nil)
	_ caddymsa.Lookuper         = (*SQL)(nil)
	_ caddymsa.Revisioner       = (*SQL)(nil)
)
