package sqldb

import (
	"database/sql"
	"errors"
	"regexp"
	"slices"
	"time"

	"github.com/go-sql-driver/mysql"
)

var mySQL = driver{
	name:        "mysql",
	positional:  true,
	backslashes: true,
	own:         regexp.MustCompile(`^\?`),
	lifetime:    3 * time.Minute, // what the driver advises
	open:        openMySQL,
	mistake: func(err error) bool {
		// Access to the database, to the server, no such database, column, syntax, table, access to
		// table, to column, no such function, not enough parameters.
		return hasNumber(err, 1044, 1045, 1049, 1054, 1064, 1146, 1142, 1143, 1305, 1210, 1698)
	},
	foreign: func(err error) bool {
		// Illegal mix of collations, a character that the column's set lacks.
		return hasNumber(err, 1267, 1366, 3854, 3988)
	},
	gone: func(err error) bool {
		// Shutdown, killed connection, idle for too long.
		return errors.Is(err, mysql.ErrInvalidConn) || hasNumber(err, 1053, 1927, 4031)
	},
}

// hasNumber tells whether the server gave one of the error numbers.
func hasNumber(err error, numbers ...uint16) bool {
	var e *mysql.MySQLError
	return errors.As(err, &e) && slices.Contains(numbers, e.Number)
}

// openMySQL takes the driver's form, user@tcp(host:port)/database?parameters.
func openMySQL(o Options) (*sql.DB, string, error) {
	c, err := mysql.ParseDSN(o.DSN)
	if err != nil {
		// The cause quotes pieces of the string.
		return nil, "", errors.New("dsn: MySQL's driver cannot read it; write msa@tcp(db.example.org:3306)/mail?tls=true or msa@unix(/run/mysqld/mysqld.sock)/mail, and the password as the setting password")
	}
	if o.Password != "" {
		c.Passwd = o.Password
	}
	c.InterpolateParams = false // values are never put into the text
	c.MultiStatements = false
	c.Timeout = o.Timeout
	// Beside the limit of each query, for connections that are made in advance.
	c.ReadTimeout, c.WriteTimeout = o.Timeout+time.Second, o.Timeout+time.Second
	c.Logger = &mysql.NopLogger{}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, "", errors.New("dsn: MySQL's driver cannot use it; see that its parameters fit together")
	}
	return sql.OpenDB(connector), c.Passwd, nil
}
