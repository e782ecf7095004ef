package sqldb

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Whatever a driver says, the password to connect with is not in it.
func TestRedacted(t *testing.T) {
	db := &DB{driver: postgres, password: "geheim"}
	cause := &pgconn.PgError{Code: "28P01", Message: "no such user msa:geheim@db"}
	err := db.failed(context.Background(), cause)
	if strings.Contains(err.Error(), "geheim") || !strings.Contains(err.Error(), "REDACTED") || !db.Mistake(err) {
		t.Error(err)
	}
}

func TestLiteralPassword(t *testing.T) {
	for _, c := range []struct {
		dsn, setting, inUse string
		want                bool
	}{
		{"postgres://msa:p%40ss@db/mail", "", "p@ss", true}, {"msa:p@ss@tcp(db)/mail", "", "p@ss", true}, {"msa@tcp(db)/mail", "p@ss", "p@ss", true},
		{"postgres://msa@db/mail", "{env.PW}", "p@ss", false}, {"postgres://msa:{env.PW}@db/mail", "", "p@ss", false}, {"postgres://msa@db/mail", "", "from .pgpass", false}, {"users.db", "", "", false},
		{"postgres://msa:{env.PW}@db/mail", "", "mail", false}, {"host=db user=msa", "", "db", false}, {"host=db user=msa password=geheim", "", "geheim", true},
	} {
		if got := (&DB{password: c.inUse}).Literal(c.dsn, c.setting); got != c.want {
			t.Errorf("%+v: %t", c, got)
		}
	}
}

// A file that a connection string names and that cannot be read is said to be at fault, and not the string, of which nothing is repeated.
func TestUnreadableFile(t *testing.T) {
	for _, dsn := range []string{
		"postgres://msa:geheim@db.example.org/mail?sslmode=verify-full&sslrootcert=/nowhere/ca.pem",
		"host=db.example.org user=msa password=geheim sslmode=require sslcert=/nowhere/c.pem sslkey=/nowhere/k.pem",
	} {
		_, err := Open(Options{Driver: "postgres", DSN: dsn, Timeout: time.Second, Connections: 1})
		if err == nil || !strings.Contains(err.Error(), "sslrootcert, sslcert or sslkey) that cannot be read: no such file") || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: %v", dsn, err)
		}
	}
}
