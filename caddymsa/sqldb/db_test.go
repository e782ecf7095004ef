package sqldb

import (
	"context"
	"strings"
	"testing"

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
