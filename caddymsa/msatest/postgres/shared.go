//go:build linux

package postgres

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
)

// shared is the server of those tests of this process that want a database of their own and no more. It is there while one of them runs.
var shared struct {
	sync.Mutex
	server    *Server
	maker     *pgx.Conn // makes the databases
	life      *life
	users     int
	databases int
}

// Shared makes an empty database for a test that does nothing to its server: neither kills, stops nor configures it, nor changes a role.
// To start a server costs ten times as much. The test is skipped where PostgreSQL is not installed.
func Shared(t testing.TB) *Database {
	t.Helper()
	installed.Need(t, "initdb")
	shared.Lock()
	defer shared.Unlock()
	if shared.users == 0 {
		shared.life = &life{TB: t}
		defer func() {
			if shared.users == 0 { // it did not start
				shared.life.end()
			}
		}()
		s := prepare(shared.life)
		s.make()
		// Of many tests at once; nothing of what they write is needed after a crash of this machine.
		s.Start("max_connections=600", "shared_buffers=32MB", "autovacuum=off", "full_page_writes=off", "wal_level=minimal", "max_wal_senders=0")
		var err error
		if shared.maker, err = pgx.Connect(context.Background(), s.DSN()); err != nil {
			t.Fatal(err)
		}
		shared.life.Cleanup(func() { _ = shared.maker.Close(context.Background()) })
		shared.server = s
	}
	d := &Database{Port: shared.server.Port, name: fmt.Sprint("test", shared.databases)}
	if _, err := shared.maker.Exec(context.Background(), "CREATE DATABASE "+d.name+" TEMPLATE postgres"); err != nil {
		t.Fatal(err)
	}
	shared.databases++
	shared.users++
	t.Cleanup(func() {
		shared.Lock()
		defer shared.Unlock()
		if t.Failed() {
			t.Logf("the output of the server, which other tests share, ends with:\n%s", shared.server.said())
		}
		if shared.users--; shared.users == 0 {
			shared.life.end()
		}
	})
	return d
}

// life is a test to whoever makes a server, and lasts longer than the one that began it.
type life struct {
	testing.TB
	cleanups []func()
}

// Cleanup is for the end of this life.
func (l *life) Cleanup(f func()) { l.cleanups = append(l.cleanups, f) }

// Failed is asked of the tests that share the server.
func (l *life) Failed() bool { return false }

func (l *life) end() {
	for _, f := range slices.Backward(l.cleanups) {
		f()
	}
	l.cleanups = nil
}
