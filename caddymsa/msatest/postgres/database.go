//go:build linux

package postgres

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Database is one database of a server.
type Database struct {
	Port int
	name string
}

// DSN names the database.
func (d *Database) DSN() string { return d.Through(d.Port) }

// Through names the database as it is reached by a proxy that listens on another port.
func (d *Database) Through(port int) string {
	return fmt.Sprintf("postgres://msa@127.0.0.1:%d/%s?sslmode=disable", port, d.name)
}

// Exec runs a statement and returns how many rows it is about.
func (d *Database) Exec(t testing.TB, statement string, args ...any) int64 {
	t.Helper()
	c, err := pgx.Connect(context.Background(), d.DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(context.Background()) }()
	tag, err := c.Exec(context.Background(), statement, args...)
	if err != nil {
		t.Fatal(err)
	}
	return tag.RowsAffected()
}
