package sqldb

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// asNobody runs f with the rights of a user who owns nothing, to files; for who is not root, with the rights he has.
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

// walDatabase is a database in WAL mode, in a directory of its own.
type walDatabase struct {
	t         *testing.T
	dir, path string
}

func newWALDatabase(t *testing.T) *walDatabase {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "db")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for d := filepath.Dir(dir); d != "/" && d != os.TempDir(); d = filepath.Dir(d) {
		_ = os.Chmod(d, 0o755)
	}
	w := &walDatabase{t: t, dir: dir, path: filepath.Join(dir, "users.db")}
	t.Cleanup(func() { _ = os.Chmod(dir, 0o755) })
	return w
}

// mode gives the files that there are these rights, and then the directory.
func (w *walDatabase) mode(database, log, directory os.FileMode) {
	w.t.Helper()
	_ = os.Chmod(w.dir, 0o755)
	_ = os.Chmod(w.path, database)
	_ = os.Chmod(w.path+"-wal", log)
	_ = os.Chmod(w.path+"-shm", log)
	if err := os.Chmod(w.dir, directory); err != nil {
		w.t.Fatal(err)
	}
}

// write is what the one who owns the files does; who is not root needs the right to write for it.
func (w *walDatabase) write(statements ...string) *sql.DB {
	w.t.Helper()
	w.mode(0o644, 0o644, 0o755)
	db, err := sql.Open("sqlite", "file:"+w.path)
	if err != nil {
		w.t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			w.t.Fatal(err)
		}
	}
	return db
}

func (w *walDatabase) open(dsn string) *DB {
	w.t.Helper()
	db, err := Open(Options{Driver: "sqlite", DSN: dsn, Timeout: time.Minute, Connections: 2})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = db.Close() })
	return db
}

// has asks db for a name as one who does not own the files.
func (w *walDatabase) has(db *DB, name string) (found bool, err error) {
	w.t.Helper()
	query, err := db.Parse("SELECT name FROM u WHERE name = {user}", "user", "local")
	if err != nil {
		w.t.Fatal(err)
	}
	asNobody(w.t, func() {
		err = db.Ask(w.t.Context(), query, func(string) string { return name }, func(rows *sql.Rows) error {
			found = rows.Next()
			return nil
		})
	})
	return found, err
}

// A database in WAL mode that may only be read: what is in it is found, changes too; and where that
// cannot be done, the remedy is named.
func TestWALWithReadRightsOnly(t *testing.T) {
	w := newWALDatabase(t)
	readOnly := func() { w.mode(0o444, 0o444, 0o555) }
	_ = w.write("PRAGMA journal_mode=WAL", "CREATE TABLE u (name TEXT)", "INSERT INTO u VALUES ('first')").Close()
	readOnly()

	db := w.open(w.path)
	if found, err := w.has(db, "first"); !found || err != nil {
		t.Errorf("%v, %v", found, err)
	}
	_ = w.write("INSERT INTO u VALUES ('second')").Close()
	readOnly()
	if found, err := w.has(db, "second"); !found || err != nil {
		t.Errorf("a change is not seen: %v, %v", found, err)
	}
	// The operator's own mode is left as it is, and what to do is said.
	own := w.open("file:" + w.path + "?mode=ro")
	if _, err := w.has(own, "first"); err == nil || !strings.Contains(err.Error(), "WAL mode") || !strings.Contains(err.Error(), "journal_mode=DELETE") || !own.Mistake(err) {
		t.Error(err)
	}
}

// Whatever may be read and written of a database in WAL mode and of what belongs beside it: all that was
// committed is found, what is in the log alone too, or the remedy is named. A log that cannot be read is never passed over.
func TestWALRights(t *testing.T) {
	modes := []os.FileMode{0o666, 0o444, 0}
	for _, log := range []string{"absent", "empty", "full", "full, without its index", "full, its writer gone"} {
		for _, database := range modes[:2] {
			for _, beside := range modes {
				for _, directory := range []os.FileMode{0o777, 0o555} {
					t.Run(fmt.Sprintf("%s %o %o %o", log, database, beside, directory), func(t *testing.T) {
						w := newWALDatabase(t)
						_ = w.write("PRAGMA journal_mode=WAL", "CREATE TABLE u (name TEXT)").Close()
						writer := w.write("INSERT INTO u VALUES ('latest')")
						switch log {
						case "absent":
							_ = writer.Close()
						case "empty":
							_ = writer.Close()
							if err := os.WriteFile(w.path+"-wal", nil, 0o600); err != nil {
								t.Fatal(err)
							}
						case "full":
							t.Cleanup(func() { _ = writer.Close() })
						case "full, without its index", "full, its writer gone":
							// As after a crash: the log is kept, and put back.
							wal, _ := os.ReadFile(w.path + "-wal")
							main, _ := os.ReadFile(w.path)
							shm, _ := os.ReadFile(w.path + "-shm")
							_ = writer.Close()
							_ = os.WriteFile(w.path, main, 0o600)
							_ = os.WriteFile(w.path+"-wal", wal, 0o600)
							if log == "full, its writer gone" {
								_ = os.WriteFile(w.path+"-shm", shm, 0o600)
							}
						}
						w.mode(database, beside, directory)
						db := w.open(w.path)
						found, err := w.has(db, "latest")
						t.Logf("%v, %v", found, err)
						if !found && (err == nil || !strings.Contains(err.Error(), "WAL mode") || !db.Mistake(err)) {
							t.Errorf("%v, %v", found, err)
						}
					})
				}
			}
		}
	}
}

// What a writer left behind that did not live to end its transaction is undone by who may, and said by who may not. Nothing that
// was not committed is found.
func TestUnfinished(t *testing.T) {
	w := newWALDatabase(t)
	writer := w.write("CREATE TABLE u (name TEXT)", "INSERT INTO u VALUES ('first')", "PRAGMA cache_size=1", "PRAGMA synchronous=OFF", "BEGIN")
	db := w.open(w.path)
	if found, err := w.has(db, "first"); !found || err != nil {
		t.Errorf("%v, %v", found, err)
	}
	for i := range 500 {
		if _, err := writer.Exec("INSERT INTO u VALUES (?)", fmt.Sprintf("%d%s", i, strings.Repeat("x", 500))); err != nil {
			t.Fatal(err)
		}
	}
	broken, err := os.ReadFile(w.path)
	if err != nil {
		t.Fatal(err)
	}
	journal, err := os.ReadFile(w.path + "-journal")
	if err != nil {
		t.Fatal(err)
	}
	_ = writer.Close()
	breakOff := func() {
		for name, content := range map[string][]byte{w.path: broken, w.path + "-journal": journal} {
			if err := os.WriteFile(name, content, 0o666); err != nil {
				t.Fatal(err)
			}
			_ = os.Chmod(name, 0o666)
		}
	}
	for _, may := range []bool{false, true} {
		breakOff()
		if w.mode(0o666, 0o666, 0o777); !may {
			w.mode(0o444, 0o444, 0o555)
		}
		for name, db := range map[string]*DB{"a new one": w.open("file:" + w.path), "one that was open": db} {
			found, err := w.has(db, "first")
			if may && (!found || err != nil) || !may && (err == nil || !strings.Contains(err.Error(), "has to be undone first") || db.Mistake(err)) {
				t.Errorf("%s, may write %v: %v, %v", name, may, found, err)
			}
		}
	}
	if found, err := w.has(db, "0"+strings.Repeat("x", 500)); found || err != nil {
		t.Errorf("what was not committed: %v, %v", found, err)
	}
	breakOff()
	if _, err := w.has(w.open("file:"+w.path+"?mode=ro"), "first"); err == nil || !strings.Contains(err.Error(), "the DSN says mode=ro") {
		t.Error(err)
	}
}
