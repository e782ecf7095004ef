package sqldb_test

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/postgres"
	"github.com/caddy-msa/caddy-msa/caddymsa/sqldb"
)

// A host that takes connections and says nothing leaves time for the one that is named after it.
func TestNextHost(t *testing.T) {
	t.Parallel()
	srv := postgres.Shared(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	at := fmt.Sprint("127.0.0.1:", srv.Port)
	dsn := strings.Replace(srv.DSN(), at, fmt.Sprint(silent.Addr(), ",", at), 1)
	db, err := sqldb.Open(sqldb.Options{Driver: "postgres", DSN: dsn, Timeout: 20 * time.Second, Connections: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	q, err := db.Parse("SELECT {user}::text", "user")
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Ask(context.Background(), q, func(string) string { return "a" }, func(rows *sql.Rows) error { rows.Next(); return nil }); err != nil {
		t.Error(err)
	}
}
