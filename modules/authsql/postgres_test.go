//go:build linux

package authsql

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/postgres"
	"github.com/caddy-msa/caddy-msa/caddymsa/sqldb"
)

const postgresTable = `CREATE TABLE msa_users (
	username   text PRIMARY KEY,
	password   text NOT NULL,
	addresses  text NOT NULL DEFAULT '',
	allow_nets text NOT NULL DEFAULT '',
	disabled   boolean NOT NULL DEFAULT false
)`

// nasty is a password that none of the connection strings can have as it is.
const nasty = `p@ss:w/r'd %41?&#"\ {x}`

// secretFile is how the configuration names that password.
func secretFile(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(path, []byte(nasty+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return "{file." + path + "}"
}

// startPostgres returns a server with the default table, a connection to it and settings for it.
func startPostgres(t testing.TB) (*server, *sql.DB, SQL) {
	bin := filepath.Dir(installed.Need(t, "initdb"))
	srv := newServer(t, "postgres", "nobody")
	pw := filepath.Join(srv.dir, "pw")
	if err := os.WriteFile(pw, []byte(nasty+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(srv.dir, "data")
	srv.run(filepath.Join(bin, "initdb"), "-D", data, "-U", "msa", "-E", "UTF8", "--auth=scram-sha-256", "--pwfile="+pw, "--no-sync", "--no-instructions")
	srv.args = []string{filepath.Join(bin, "postgres"), "-D", data, "-p", fmt.Sprint(srv.port), "-F",
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "dynamic_shared_memory_type=mmap", "-c", "shared_buffers=1MB", "-c", "max_connections=60"}
	t.Cleanup(func() { postgres.Release(data) })
	srv.start()
	address := fmt.Sprintf("postgres://msa@127.0.0.1:%d/postgres?sslmode=disable", srv.port)
	settings := SQL{Driver: "postgres", DSN: address, Password: conf.Secret(secretFile(t))}
	source, err := sqldb.Open(sqldb.Options{Driver: "postgres", DSN: address, Password: nasty, Timeout: 30 * time.Second, Connections: 10})
	if err != nil {
		t.Fatal(err)
	}
	db := source.Pool()
	t.Cleanup(func() { _ = db.Close() })
	srv.await(db)
	execute(t, db, postgresTable)
	return srv, db, settings
}

func TestPostgres(t *testing.T) {
	t.Parallel()
	srv, db, settings := startPostgres(t)
	address, s := settings.DSN, settings
	conform(t, db, must(t, &s))

	t.Run("types", func(t *testing.T) {
		execute(t, db, "CREATE TABLE mail (name varchar(80), a text[], n cidr[], off timestamptz, ha bytea, uid bigint, ok boolean)",
			"INSERT INTO mail VALUES ('alice', '{a@example.org,\"b@example.org\"}', '{127.0.0.0/8}', NULL, '"+`\x`+strings.TrimPrefix(generate(t, "DIGEST-MD5.realm=R", "alice", "s3cret"), "{DIGEST-MD5.realm=R}")+"', 1000, true)",
			"INSERT INTO mail VALUES ('bob', NULL, NULL, now(), (SELECT ha FROM mail), NULL, NULL)")
		s := must(t, &SQL{Driver: "postgres", DSN: address, Password: settings.Password,
			Query: "SELECT name AS username, a AS addresses, n AS allow_nets, off AS disabled, ha AS digest_ha1, 'R' AS realm, uid, ok FROM mail WHERE lower(name) = lower({user})"})
		id, err := s.VerifyPassword(context.Background(), peer, "alice", "s3cret")
		if err != nil || len(id.Addresses) != 2 || id.Attributes["uid"] != "1000" || id.Attributes["ok"] != "true" {
			t.Errorf("%+v, %v", id, err)
		}
		if id, err := s.VerifyPassword(context.Background(), peer, "ALICE", "s3cret"); err != nil || id.User != "alice" {
			t.Errorf("names fold: %+v, %v", id, err)
		}
		unknown(t, s, "bob", "s3cret")
	})
	t.Run("character set", func(t *testing.T) {
		execute(t, db, "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
		address := strings.Replace(address, "/postgres", "/latin", 1)
		source, err := sqldb.Open(sqldb.Options{Driver: "postgres", DSN: address, Password: nasty, Timeout: 30 * time.Second, Connections: 10})
		if err != nil {
			t.Fatal(err)
		}
		db := source.Pool()
		defer db.Close()
		execute(t, db, postgresTable, "INSERT INTO msa_users (username, password) VALUES ('jürgen', '{PLAIN}s3cret')")
		s := must(t, &SQL{Driver: "postgres", DSN: address, Password: settings.Password})
		if _, err := s.VerifyPassword(context.Background(), peer, "jürgen", "s3cret"); err != nil {
			t.Error(err)
		}
		unknown(t, s, "Łukasz", "s3cret")
	})
	t.Run("mistakes", func(t *testing.T) {
		for want, query := range map[string]string{
			"syntax error": "SELCT {user}", "does not exist": "SELECT username, password FROM nosuch WHERE u = {user}", "invalid input syntax": "SELECT '' AS username, '' AS password WHERE {user} = 1",
		} {
			if _, err := provision(t, &SQL{Driver: "postgres", DSN: address, Password: settings.Password, Query: query}); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %s", err, want)
			}
		}
	})
	t.Run("secrets", func(t *testing.T) {
		for _, c := range []SQL{
			{DSN: strings.Replace(address, "msa@", "msa:"+url.QueryEscape("not "+nasty)+"@", 1)},
			{DSN: address, Password: "not " + settings.Password},
			{DSN: fmt.Sprintf("host=127.0.0.1 port=%d user=msa dbname=nosuch sslmode=disable", srv.port), Password: settings.Password},
		} {
			c.Driver = "postgres"
			_, err := provision(t, &c)
			if err == nil || strings.Contains(err.Error(), "p@ss") {
				t.Error(err)
			}
		}
	})
	trouble(t, srv, db, settings)
}
