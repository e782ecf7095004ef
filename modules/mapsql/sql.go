// Package mapsql maps addresses by a database.
package mapsql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/sqldb"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
)

func init() {
	caddy.RegisterModule(new(SQL))
}

// Queries that are the default.
const (
	DefaultActual  = "SELECT actual FROM msa_addresses WHERE logical = {address}"
	DefaultLogical = "SELECT logical FROM msa_addresses WHERE actual = {address}"
)

// SQL maps addresses by queries to PostgreSQL, MySQL or MariaDB, or SQLite. The first column of the first
// row is the other address; no row, or NULL, leaves an address as it is. A database that does
// not answer defers the delivery.
type SQL struct {
	// Driver is the kind of database: postgres, mysql (MariaDB too) or sqlite.
	Driver string `json:"driver,omitempty"`
	// DSN says where it is, as msa.auth.sql has it. Required.
	DSN string `json:"dsn,omitempty"`
	// Password to connect with, in place of one in the DSN.
	Password conf.Secret `json:"password,omitempty"`
	// ActualQuery finds a recipient's actual address, LogicalQuery a sender's logical one. {address} is
	// the address in lower case, its domain as A-labels, {local} and {domain} its sides. Default: the table
	// msa_addresses with the columns logical and actual.
	ActualQuery  string `json:"actual,omitempty"`
	LogicalQuery string `json:"logical,omitempty"`
	// Case is how local parts compare: fold asks for them in lower case, and then as they are spelled if nothing
	// was found; exact only as they are spelled. Default fold.
	Case names.Case `json:"case,omitempty"`
	// Timeout of a question, and of making a connection. Default: 5s.
	Timeout conf.Duration `json:"timeout,omitempty"`
	// Concurrency to the database. Default: 4.
	Concurrency int `json:"concurrency,omitempty"`

	db              *sqldb.DB
	actual, logical sqldb.Query
	timeout         time.Duration
	quiet           atomic.Int64 // not asked before, in nanoseconds since 1970
}

// pause is how long a database is left alone after it took more than half the timeout for an error: one that hangs is waited for once, and not
// once for each of a thousand recipients, behind whom a client may wait for its 250.
const pause = time.Second

var errPaused = errors.New("sql: the database did not answer a moment ago")

// CaddyModule returns the Caddy module information.
func (*SQL) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.address_maps.sql", New: func() caddy.Module { return new(SQL) }}
}

// Provision asks once: a mistake in the connection string or a query fails the load. A database
// that does not answer does not.
func (m *SQL) Provision(ctx caddy.Context) error {
	if err := m.provision(ctx); err != nil {
		return fmt.Errorf("sql: %w", err)
	}
	return nil
}

func (m *SQL) provision(ctx caddy.Context) error {
	if m.Timeout < 0 || m.Concurrency < 0 {
		return errors.New("timeout and concurrency cannot be negative")
	}
	o := sqldb.Options{Driver: m.Driver, Timeout: time.Duration(m.Timeout), Connections: m.Concurrency}
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	if o.Connections == 0 {
		o.Connections = 4
	}
	m.timeout = o.Timeout
	var err error
	if o.DSN, err = conf.Expand(m.DSN); err != nil {
		return fmt.Errorf("dsn: %w", err)
	}
	if o.DSN == "" {
		return errors.New("dsn is required, as in: address_map sql sqlite /var/lib/msa/addresses.db")
	}
	log := terminal.Logger(ctx.Logger())
	password, err := m.Password.Resolve("password", log)
	if err != nil {
		return err
	}
	o.Password = password.Value()
	if m.db, err = sqldb.Open(o); err != nil {
		return err
	}
	if m.db.Literal(m.DSN) {
		log.Warn(conf.DatabasePassword)
	}
	answers := true
	for _, q := range []struct {
		name, text, deflt string
		query             *sqldb.Query
	}{{"actual", m.ActualQuery, DefaultActual, &m.actual}, {"logical", m.LogicalQuery, DefaultLogical, &m.logical}} {
		if q.text == "" {
			q.text = q.deflt
		}
		if *q.query, err = m.db.Parse(q.text, "address", "local", "domain"); err != nil {
			return fmt.Errorf("%s: %w", q.name, err)
		}
		if !q.query.Asks("address") && !q.query.Asks("local") {
			return fmt.Errorf("%s: the query does not ask for the address; say WHERE logical = {address}", q.name)
		}
		if !answers {
			continue
		}
		if _, _, err := m.ask(ctx, *q.query, mailaddr.Address{Exact: "nobody@invalid", Local: "nobody", Domain: "invalid"}); err != nil {
			if m.db.Mistake(err) {
				return fmt.Errorf("%s: %w", q.name, err)
			}
			answers = false
			log.Warn("the database does not answer; deliveries have to wait until it does", zap.Error(err))
		}
	}
	return nil
}

// ask looks an address up as the setting case has it.
func (m *SQL) ask(ctx context.Context, q sqldb.Query, a mailaddr.Address) (to string, ok bool, err error) {
	if m.Case == names.Exact {
		return m.askSpelled(ctx, q, a, names.Exact)
	}
	to, ok, err = m.askSpelled(ctx, q, a, names.Folded)
	if !ok && err == nil && names.Fold(a.Local) != a.Local { // it may be stored with these capitals
		return m.askSpelled(ctx, q, a, names.Exact)
	}
	return to, ok, err
}

func (m *SQL) askSpelled(ctx context.Context, q sqldb.Query, a mailaddr.Address, c names.Case) (to string, ok bool, err error) {
	value := func(name string) string {
		return map[string]string{"address": a.KeyCase(c), "local": c.Key(a.Local), "domain": a.ASCIIDomain()}[name]
	}
	began := time.Now()
	if began.UnixNano() < m.quiet.Load() {
		return "", false, errPaused
	}
	err = m.db.Ask(ctx, q, value, func(rows *sql.Rows) error {
		if !rows.Next() {
			return nil
		}
		columns, err := rows.Columns()
		if err != nil {
			return err
		}
		var first sql.NullString
		into := []any{&first}
		for range columns[1:] {
			into = append(into, new(any))
		}
		if err := rows.Scan(into...); err != nil {
			return err
		}
		to, ok = first.String, first.Valid && first.String != ""
		return nil
	})
	if err != nil && m.db.Foreign(err) {
		return "", false, nil
	}
	if err != nil && ctx.Err() == nil && time.Since(began) > m.timeout/2 {
		m.quiet.Store(time.Now().Add(pause).UnixNano())
	}
	return to, ok && err == nil, err
}

// Actual implements caddymsa.AddressMap.
func (m *SQL) Actual(ctx context.Context, logical mailaddr.Address) (string, bool, error) {
	return m.ask(ctx, m.actual, logical)
}

// Logical implements caddymsa.AddressMap.
func (m *SQL) Logical(ctx context.Context, actual mailaddr.Address) (string, bool, error) {
	return m.ask(ctx, m.logical, actual)
}

// Cleanup closes the connections.
func (m *SQL) Cleanup() error {
	if m.db == nil {
		return nil
	}
	return m.db.Close()
}

// UnmarshalCaddyfile sets up the map from Caddyfile tokens. Syntax:
//
//	address_map sql postgres|mysql|sqlite <dsn> {
//		password        <password>
//		actual          <query>
//		logical         <query>
//		case            fold|exact
//		timeout         <duration>
//		concurrency     <count>
//	}
func (m *SQL) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the map's name
	if !d.AllArgs(&m.Driver, &m.DSN) {
		return d.Err("sql takes a driver and where the database is, as in: address_map sql postgres postgres://msa@db.example.org/mail")
	}
	if err := conf.OneOf(m.Driver, sqldb.Names...); err != nil {
		return d.Errf("driver: %w", err)
	}
	return conf.Block(d,
		conf.Value("password", &m.Password),
		conf.Text("actual", &m.ActualQuery),
		conf.Text("logical", &m.LogicalQuery),
		conf.Value("case", &m.Case),
		conf.Value("timeout", &m.Timeout),
		conf.Count("concurrency", &m.Concurrency),
	)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*SQL)(nil)
	_ caddy.CleanerUpper    = (*SQL)(nil)
	_ caddyfile.Unmarshaler = (*SQL)(nil)
	_ caddymsa.AddressMap   = (*SQL)(nil)
)
