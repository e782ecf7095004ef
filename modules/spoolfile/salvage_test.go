package spoolfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

var changing = regexp.MustCompile(`\d{8}T\d{6}\.\d{9}Z`)

var sums = regexp.MustCompile(`mismatch [0-9a-f]+ != [0-9a-f]+`)

// runSpool runs a command of spool, and returns what it prints, with its error at the end.
func runSpool(args ...string) string {
	cmd := spoolCommand()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(args)
	cmd.SilenceErrors = true
	if err := cmd.ExecuteContext(background); err != nil {
		fmt.Fprintf(&out, "Error: %v\n", err)
	}
	return out.String()
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || got != string(want) {
		t.Errorf("%s: got\n%s\nwanted (UPDATE=1 writes it)\n%s", name, got, want)
	}
}

// damagedSpool is a spool on the disk with five messages, of which one has a damaged body, one has none, and the octets
// of a third, in the store, are damaged.
func damagedSpool(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "spool")
	s, err := Open(dir, Options{Threshold: 2 << 10, Reserve: -1, Ballast: -1})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		d, err := s.Create(background)
		if err != nil {
			t.Fatal(err)
		}
		id := fmt.Sprintf("MESSAGE%d", i)
		n := 1
		if i < 2 {
			n = 200
		}
		a := testAccept(id)
		a.Header = []byte("Received: from laptop by msa.example.org with ESMTPSA id " + id + "\r\n")
		if _, err := d.Write(bytes.Repeat([]byte("Subject: message "+id+"\r\n"), n)); err != nil {
			t.Fatal(err)
		}
		a.Entry.Size = int64(len(a.Header) + n*len("Subject: message MESSAGE0\r\n"))
		if err := d.Commit(background, a); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	bodies, err := filepath.Glob(dir + "/bodies/*.body")
	if err != nil || len(bodies) != 2 {
		t.Fatal(bodies, err)
	}
	editFile(t, bodies[0], func(b []byte) []byte { b[100] = 'X'; return b })
	if err := os.Remove(bodies[1]); err != nil {
		t.Fatal(err)
	}
	tables, _ := filepath.Glob(dir + "/store/*.sst")
	for _, table := range tables {
		editFile(t, table, func(b []byte) []byte {
			return bytes.Replace(b, []byte("Subject: message MESSAGE3"), []byte("Subject: massage MASSAGE3"), 1)
		})
	}
	return dir
}

func editFile(t *testing.T, name string, f func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err == nil {
		err = os.WriteFile(name, f(b), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestSalvageCommand(t *testing.T) {
	dir := damagedSpool(t)
	to := filepath.Join(t.TempDir(), "out")
	tidy := func(s string) string {
		return changing.ReplaceAllString(sums.ReplaceAllString(strings.NewReplacer(dir, "SPOOL", to, "OUT").Replace(s), "mismatch"), "TIME")
	}
	var out strings.Builder
	for _, args := range [][]string{{"check", dir}, {"salvage", dir}, {"salvage", dir, "--to", to}, {"salvage", dir + "/bodies"}} {
		fmt.Fprintf(&out, "$ caddy msa spool %s\n%s\n", tidy(strings.Join(args, " ")), tidy(runSpool(args...)))
	}
	golden(t, "salvage.txt", out.String())
	b, err := os.ReadFile(to + "/MESSAGE3.eml")
	if err != nil || !bytes.Contains(b, []byte("massage MASSAGE3")) {
		t.Errorf("%q, %v", b, err)
	}
	golden(t, "salvage.json", tidy(read(t, to+"/MESSAGE0.json")))

	s, err := Open(dir, Options{Reserve: -1, Ballast: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := runSpool("salvage", dir); !strings.Contains(got, "in use by process") {
		t.Errorf("a spool in use: %s", got)
	}
	if n := s.Damaged(); n < 2 { // a body is read when it is needed
		t.Errorf("%d damaged", n)
	}
	for id := range map[string]bool{"MESSAGE2": true, "MESSAGE4": true} {
		l, _, err := s.Lease(background, noon, queue.Want{})
		if err != nil || l.Entry().ID != id && l.Entry().ID != "MESSAGE2" && l.Entry().ID != "MESSAGE4" {
			t.Errorf("%v, %v", l, err)
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestSalvageWhole(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, Options{Reserve: -1, Ballast: -1})
	if err == nil {
		err = errors.Join(submit(s, "Q001"), s.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := runSpool("salvage", dir); got != "1 messages in the spool; 0 damaged: 0 with envelope and octets, 0 in part, 0 of which nothing is left\n" {
		t.Error(got)
	}
}

// Damage that is met while the spool is in use: those that have it are named and set aside, the others are served.
func TestDamageLater(t *testing.T) {
	t.Run("delivered", func(t *testing.T) { damageLater(t, false) })
	t.Run("checked", func(t *testing.T) { damageLater(t, true) })
}

func damageLater(t *testing.T, check bool) {
	fs := vfs.NewMem()
	core, logged := observer.New(zapcore.ErrorLevel)
	o := testOptions(newFaulty(fs))
	o.Log, o.Retry = zap.New(core), time.Millisecond
	s, err := Open("/spool", o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const n = 60
	for i := range n {
		if err := submit(s, fmt.Sprintf("Q%03d", i)); err != nil {
			t.Fatal(err)
		}
	}
	eng, _ := s.engine()
	if err := eng.flush(); err != nil {
		t.Fatal(err)
	}
	spoiled := 0
	names, _ := fs.List("/spool/store")
	for _, name := range names {
		if !strings.HasSuffix(name, ".sst") {
			continue
		}
		name = "/spool/store/" + name
		b, err := readFile(fs, name)
		if err != nil {
			t.Fatal(err)
		}
		clear(b[len(b)/3 : len(b)/3+700]) // in place: the table is open
		f, err := fs.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
		if err == nil {
			_, err = f.WriteAt(b, 0)
		}
		if err = errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		spoiled++
	}
	if spoiled == 0 {
		t.Fatal("there is no table")
	}
	if check {
		bad := 0
		if _, _, err := s.Check(background, func(int) {}, func(string, string) { bad++ }); err != nil || bad == 0 {
			t.Errorf("the check finds %d, %v", bad, err)
		}
	}
	deadline := time.Now().Add(time.Minute)
	served := make(map[string]bool)
	for time.Now().Before(deadline) {
		l, _, err := s.Lease(background, noon, queue.Want{})
		if errors.Is(err, queue.ErrNoneDue) {
			if _, down := s.engine(); down == nil {
				break
			}
			continue
		}
		if err != nil {
			time.Sleep(time.Millisecond) // it is being opened again
			continue
		}
		r, err := l.Open(background)
		if err == nil {
			_, err = io.Copy(io.Discard, r)
			r.Close()
		}
		if served[l.Entry().ID] = err == nil; err != nil {
			l.Release()
		}
	}
	var said strings.Builder
	for _, l := range logged.All() {
		fmt.Fprintln(&said, l.Message, l.ContextMap())
	}
	lost := 0
	for i := range n {
		id := fmt.Sprintf("Q%03d", i)
		if !served[id] {
			if lost++; !strings.Contains(said.String(), id) {
				t.Errorf("%s is gone without a word", id)
			}
		}
	}
	if lost == 0 || lost > n/2 || s.Damaged() < lost {
		t.Errorf("%d of %d are lost, and %d said to be damaged: %s", lost, n, s.Damaged(), said.String())
	}
	if err := submit(s, "NEW"); err != nil {
		t.Errorf("a new message: %v", err)
	}
	// Rewriting the tables meets it: the store is rebuilt once, and then they can be.
	for {
		if eng, err = s.engine(); err == nil {
			err = s.tidyNow(eng)
		}
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the tables of the new store cannot be rewritten: %v", err)
		}
		time.Sleep(time.Millisecond)
	}
	if n := asides(fs); n != 1 {
		t.Errorf("the store was rebuilt %d times", n)
	}
	waiting := 0
	if err := s.List(background, "", func(m *queue.EntryView) bool {
		if m.Status.Held == "" {
			waiting++
		}
		return true
	}); err != nil || waiting != n-lost+1 {
		t.Errorf("%d of %d messages wait after that, and %d were lost: %v", waiting, n+1, lost, err)
	}
}

// A file that may not be read is no damage: it says who must own it.
func TestUnreadable(t *testing.T) {
	if os.Getuid() == 0 {
		fs := newFaulty(vfs.NewMem())
		s, err := Open("/spool", testOptions(fs))
		if err == nil {
			err = s.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		fs.set(func(op, name string) error {
			if op == "create" {
				return os.ErrPermission
			}
			return nil
		})
		_, err = Open("/spool", testOptions(fs))
		if err == nil || !strings.Contains(err.Error(), "must belong to the user that Caddy runs as") {
			t.Errorf("%v", err)
		}
		return
	}
	dir := damagedSpool(t)
	if err := os.Chmod(dir+"/store", 0); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(dir+"/store", 0o700)
	_, err := Open(dir, Options{})
	if err == nil || !strings.Contains(err.Error(), "must belong to the user that Caddy runs as") {
		t.Errorf("%v", err)
	}
}

// tidyNow rewrites the tables.
func (s *Store) tidyNow(eng *engine) error {
	return eng.read(func(db *pebble.DB) error { return eng.met(db.Compact(background, []byte{0}, []byte{0xff}, false)) })
}
