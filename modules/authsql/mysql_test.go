//go:build linux

package authsql

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
	"github.com/caddy-msa/caddy-msa/caddymsa/sqldb"
)

const mySQLTable = `CREATE TABLE msa_users (
	username   VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci NOT NULL PRIMARY KEY,
	password   TEXT NOT NULL,
	addresses  TEXT NOT NULL DEFAULT (''),
	allow_nets TEXT NOT NULL DEFAULT (''),
	disabled   BOOLEAN NOT NULL DEFAULT FALSE
)`

func init() {
	_ = mysql.SetLogger(&mysql.NopLogger{}) // for the test's own connection
}

// startMariaDB returns a server with the default table, a connection to it and settings for it.
func startMariaDB(t testing.TB) (*server, *sql.DB, SQL) {
	daemon := installed.Need(t, "mariadbd")
	srv := newServer(t, "mysql", "nobody")
	data := filepath.Join(srv.dir, "data")
	srv.run(installed.Need(t, "mariadb-install-db"), "--no-defaults", "--datadir="+data, "--auth-root-authentication-method=normal", "--skip-test-db",
		"--innodb-log-file-size=4M")
	srv.args = []string{daemon, "--no-defaults", "--datadir=" + data, "--bind-address=127.0.0.1", fmt.Sprintf("--port=%d", srv.port), "--socket=" + srv.dir + "/s",
		"--skip-log-bin", "--innodb-flush-log-at-trx-commit=0", "--innodb-log-file-size=4M", "--innodb-buffer-pool-size=16M", "--performance-schema=off"}
	srv.start()
	root, err := sql.Open("mysql", "root@unix("+srv.dir+"/s)/")
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	srv.await(root)
	execute(t, root, "CREATE DATABASE mail CHARACTER SET utf8mb4", "CREATE USER msa@localhost IDENTIFIED BY '"+strings.NewReplacer(`\`, `\\`, "'", "''").Replace(nasty)+"'", "GRANT ALL ON mail.* TO msa@localhost")
	address := fmt.Sprintf("msa@tcp(127.0.0.1:%d)/mail", srv.port)
	settings := SQL{Driver: "mysql", DSN: address, Password: conf.Secret(secretFile(t))}
	source, err := sqldb.Open(sqldb.Options{Driver: "mysql", DSN: address, Password: nasty, Timeout: 30 * time.Second, Connections: 10})
	if err != nil {
		t.Fatal(err)
	}
	db := source.Pool()
	t.Cleanup(func() { _ = db.Close() })
	execute(t, db, mySQLTable)
	return srv, db, settings
}

func TestMariaDB(t *testing.T) {
	t.Parallel()
	srv, db, settings := startMariaDB(t)
	address, s := settings.DSN, settings
	conform(t, db, must(t, &s))

	ctx := context.Background()
	t.Run("collation", func(t *testing.T) {
		// A table as they often are: case, accents and spaces at the end do not count there.
		execute(t, db, "CREATE TABLE mailbox (username VARCHAR(100) NOT NULL PRIMARY KEY, password VARCHAR(255), active BIT(1), changed DATETIME) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci",
			"INSERT INTO mailbox VALUES ('alice@example.org', '{PLAIN}s3cret', b'1', NOW()), ('bob@example.org', '{PLAIN}s3cret', b'0', NULL)")
		s := settings
		s.Query = "SELECT username, password, NOT active AS disabled, changed FROM mailbox WHERE username = {user}"
		must(t, &s)
		if id, err := s.VerifyPassword(ctx, peer, "alice@example.org", "s3cret"); err != nil || id.Attributes["changed"] == "" {
			t.Error(id, err)
		}
		if id, err := s.VerifyPassword(ctx, peer, "Alice@example.org", "s3cret"); err != nil || id.User != "alice@example.org" {
			t.Errorf("names fold: %+v, %v", id, err)
		}
		for _, name := range append([]string{"älice@example.org", "alice@example.org ", "bob@example.org"}, hostile...) {
			unknown(t, &s, name, "s3cret")
		}
		s2 := settings
		s2.Query = "SELECT username, password, active = b'0' AS disabled, active AS disabled_bit FROM mailbox WHERE username = {user}"
		must(t, &s2)
		if _, err := s2.VerifyPassword(ctx, peer, "alice@example.org", "s3cret"); err != nil {
			t.Error(err)
		}
	})
	t.Run("character set", func(t *testing.T) {
		execute(t, db, "CREATE TABLE old (username VARCHAR(100) NOT NULL PRIMARY KEY, password VARCHAR(255)) CHARACTER SET latin1", "INSERT INTO old VALUES ('jürgen', '{PLAIN}s3cret')")
		s := settings
		s.Query = "SELECT username, password FROM old WHERE username = {user}"
		must(t, &s)
		if _, err := s.VerifyPassword(ctx, peer, "jürgen", "s3cret"); err != nil {
			t.Error(err)
		}
		for _, name := range append([]string{"Łukasz", "jurgen"}, hostile...) {
			unknown(t, &s, name, "s3cret")
		}
	})
	t.Run("mistakes", func(t *testing.T) {
		for want, query := range map[string]string{
			"SQL syntax": "SELCT {user}", "doesn't exist": "SELECT username, password FROM nosuch WHERE u = {user}", "Unknown column": "SELECT username, password FROM msa_users WHERE u = {user}",
			"command denied": "SELECT user AS username, '' AS password FROM mysql.user WHERE user = {user}",
		} {
			s := settings
			s.Query = query
			if _, err := provision(t, &s); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %s", err, want)
			}
		}
	})
	t.Run("secrets", func(t *testing.T) {
		for _, c := range []SQL{
			{DSN: fmt.Sprintf("msa:not p@ss@tcp(127.0.0.1:%d)/mail", srv.port)},
			{DSN: address, Password: "not p@ss"},
			{DSN: strings.Replace(address, "/mail", "/nosuch", 1), Password: settings.Password},
		} {
			c.Driver = "mysql"
			if _, err := provision(t, &c); err == nil || strings.Contains(err.Error(), "p@ss") {
				t.Error(err)
			}
		}
	})
	trouble(t, srv, db, settings)
}
