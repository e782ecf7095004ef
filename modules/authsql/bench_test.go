//go:build linux

package authsql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

// BenchmarkLogin is a login each, one after the other: what the database costs (with a cheap
// scheme), what hashing costs, and what the cache leaves of that. An unknown name has to cost what
// a wrong password does.
func BenchmarkLogin(b *testing.B) {
	b.Run("sqlite", func(b *testing.B) {
		path, db := file(b, sqliteTable)
		benchmarkLogin(b, db, SQL{Driver: "sqlite", DSN: path})
	})
	b.Run("postgres", func(b *testing.B) {
		_, db, settings := startPostgres(b)
		benchmarkLogin(b, db, settings)
	})
	b.Run("mariadb", func(b *testing.B) {
		_, db, settings := startMariaDB(b)
		benchmarkLogin(b, db, settings)
	})
}

func benchmarkLogin(b *testing.B, db *sql.DB, settings SQL) {
	const name = "alice@example.org"
	d := settings.Driver
	for i := range 1000 {
		insert(b, db, d, fmt.Sprintf("user%d@example.org", i), "{PLAIN}secret", "", "", false)
	}
	insert(b, db, d, "digest@example.org", generate(b, "DIGEST-MD5", "digest@example.org", "s3cret"), "", "", false)
	insert(b, db, d, name, generate(b, "ARGON2ID", name, "s3cret"), "", "", false)
	ctx := context.Background()
	for _, c := range []struct {
		name, user, password string
		cache                conf.Duration
		refused              bool
	}{
		{"plain", "user7@example.org", "secret", 0, false},
		{"argon2id", name, "s3cret", 0, false},
		{"argon2id-cached", name, "s3cret", conf.Duration(time.Hour), false},
		{"argon2id-wrong", name, "wrong", 0, true},
		{"unknown", "nobody@example.org", "wrong", 0, true},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := settings
			s.Cache = c.cache
			must(b, &s)
			if c.refused { // what unknown names cost is what those do who were seen
				_, _ = s.VerifyPassword(ctx, peer, name, "s3cret")
			}
			for b.Loop() {
				if _, err := s.VerifyPassword(ctx, peer, c.user, c.password); errors.Is(err, caddymsa.ErrCredentials) != c.refused || err != nil && !c.refused {
					b.Fatal(err)
				}
			}
			_ = s.Cleanup() // and what was seen is forgotten
		})
	}
	b.Run("digest", func(b *testing.B) {
		s := settings
		must(b, &s)
		for b.Loop() {
			if c, err := s.DigestCredentials(ctx, peer, "digest", "example.org"); err != nil || len(c) != 1 {
				b.Fatal(err)
			}
		}
	})
}
