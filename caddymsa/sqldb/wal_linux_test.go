package sqldb

import (
	"database/sql"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// asNobody runs f with the rights of a user who owns nothing, to files.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() == 0 {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		_ = syscall.Setfsgid(65534)
		_ = syscall.Setfsuid(65534) // of this thread; root's rights to files go with it
		defer func() {
			_ = syscall.Setfsuid(0)
			_ = syscall.Setfsgid(0)
		}()
	}
	f()
}

// A database in WAL mode that may only be read: what is in it is found, changes too; and where that
// cannot be done, the remedy is named.
func TestWALWithReadRightsOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for d := filepath.Dir(dir); d != "/" && d != os.TempDir(); d = filepath.Dir(d) {
		_ = os.Chmod(d, 0o755)
	}
	path := filepath.Join(dir, "users.db")
	write := func(statements ...string) *sql.DB {
		t.Helper()
		_ = os.Chmod(dir, 0o755)
		db, err := sql.Open("sqlite", "file:"+path)
		if err != nil {
			t.Fatal(err)
		}
		db.SetMaxOpenConns(1)
		for _, s := range statements {
			if _, err := db.Exec(s); err != nil {
				t.Fatal(err)
			}
		}
		return db
	}
	readOnly := func() {
		t.Helper()
		for _, name := range []string{path, path + "-wal", path + "-shm"} {
			_ = os.Chmod(name, 0o444)
		}
		if err := os.Chmod(dir, 0o555); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = os.Chmod(dir, 0o755) })
	_ = write("PRAGMA journal_mode=WAL", "CREATE TABLE u (name TEXT)", "INSERT INTO u VALUES ('first')").Close()
	readOnly()

	db, err := Open(Options{Driver: "sqlite", DSN: path, Timeout: 5 * time.Second, Connections: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	query, err := db.Parse("SELECT name FROM u WHERE name = {user}", "user", "local")
	if err != nil {
		t.Fatal(err)
	}
	has := func(db *DB, name string) (found bool, err error) {
		asNobody(t, func() {
			err = db.Ask(t.Context(), query, func(string) string { return name }, func(rows *sql.Rows) error {
				found = rows.Next()
				return nil
			})
		})
		return found, err
	}
	if found, err := has(db, "first"); !found || err != nil {
		t.Errorf("%v, %v", found, err)
	}
	_ = write("INSERT INTO u VALUES ('second')").Close()
	readOnly()
	if found, err := has(db, "second"); !found || err != nil {
		t.Errorf("a change is not seen: %v, %v", found, err)
	}
	// The operator's own mode is left as it is, and what to do is said.
	own, err := Open(Options{Driver: "sqlite", DSN: "file:" + path + "?mode=ro", Timeout: 5 * time.Second, Connections: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	if _, err := has(own, "first"); err == nil || !strings.Contains(err.Error(), "WAL mode") || !strings.Contains(err.Error(), "journal_mode=DELETE") || !own.Mistake(err) {
		t.Error(err)
	}
	// A log that is there has to be read too.
	writer := write("INSERT INTO u VALUES ('third')")
	defer writer.Close()
	for _, name := range []string{path + "-wal", path + "-shm"} {
		_ = os.Chmod(name, 0o600)
	}
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	if found, err := has(db, "third"); !found && (err == nil || !strings.Contains(err.Error(), "WAL mode")) {
		t.Errorf("what is in the log alone is passed over: %v, %v", found, err)
	}
}
