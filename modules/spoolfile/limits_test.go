package spoolfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// mustSubmit ends the test if the message is not taken.
func (s *Store) mustSubmit(t *testing.T, id string) {
	t.Helper()
	if err := submit(s, id); err != nil {
		t.Fatal(err)
	}
}

// At its limits the spool refuses what clients submit, takes notifications, delivers, and takes
// messages again; limits may be changed while it is open, and count what an earlier process left.
func TestLimits(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, Options{MaxMessages: 2})
	if err != nil {
		t.Fatal(err)
	}
	s.mustSubmit(t, small)
	s.mustSubmit(t, large)
	if err := submit(s, "Q003"); !errors.Is(err, queue.ErrFull) {
		t.Errorf("a third one: %v", err)
	}
	d, err := s.Create(queue.AsNotification(background))
	if err != nil {
		t.Errorf("a notification: %v", err)
	} else {
		d.Abort()
	}
	held := s.held.Load()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(dir, Options{MaxOctets: held}); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := s.held.Load(); got != held {
		t.Errorf("%d octets, and %d before", got, held)
	}
	if err := submit(s, "Q003"); !errors.Is(err, queue.ErrFull) {
		t.Errorf("over the octets: %v", err)
	}
	s.Adjust(Options{MaxOctets: held + 1})
	s.mustSubmit(t, "Q003")
	s.Adjust(Options{MaxMessages: 3})
	if err := submit(s, "Q004"); !errors.Is(err, queue.ErrFull) {
		t.Errorf("over the adjusted limit: %v", err)
	}
	for _, id := range []string{small, large, "Q003"} {
		if err := deleted(s.Delete(background, id)); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.held.Load(); n != 0 {
		t.Errorf("%d octets in an empty spool", n)
	}
	s.mustSubmit(t, "Q004")
}

func TestLimitsCaddyfile(t *testing.T) {
	f := new(FileSpool)
	if err := f.UnmarshalCaddyfile(caddyfile.NewTestDispenser("file a {\n reserve 1GiB\n max_messages 100000\n max_size 20GiB\n}")); err != nil || f.Reserve != 1<<30 || f.MaxMessages != 100000 || f.MaxSize != 20<<30 {
		t.Errorf("%+v, %v", f, err)
	}
	for _, text := range []string{"reserve", "reserve x", "max_messages 0", "max_messages 10GiB", "max_size -1"} {
		if err := new(FileSpool).UnmarshalCaddyfile(caddyfile.NewTestDispenser("file a {\n " + text + "\n}")); err == nil {
			t.Errorf("%s: no error", text)
		}
	}
	if err := provision(t, &FileSpool{MaxSize: -1}); err == nil {
		t.Error("no error")
	}
}

// What is not whole is found, and nothing else; the command says it, and ends so.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	bodies := func() []string { all, _ := filepath.Glob(filepath.Join(dir, "bodies", "*")); return all }
	put := func(id string, body []byte) string {
		t.Helper()
		before := strings.Join(bodies(), " ")
		d, err := s.Create(background)
		if err == nil {
			_, err = d.Write(body)
		}
		a := testAccept(id)
		a.Entry.Size, a.Header = int64(len(body)), nil
		if err == nil {
			err = d.Commit(background, a)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range bodies() {
			if !strings.Contains(before, name) {
				return name
			}
		}
		return ""
	}
	body := bytes.Repeat([]byte("0123456789abcde\n"), 64<<10)
	for i := range 250 {
		put(fmt.Sprintf("A%03d", i), []byte("x"))
	}
	put("B", body)
	check := func() (found []string) {
		t.Helper()
		seen := 0
		n, _, err := s.Check(background, func(n int) { seen = n }, func(id, problem string) { found = append(found, id) })
		if err != nil || n != seen {
			t.Fatalf("%d of %d, %v", seen, n, err)
		}
		return found
	}
	if found := check(); len(found) != 0 {
		t.Errorf("found %q", found)
	}
	short, gone := put("C", body), put("D", body)
	if err := os.Truncate(short, 1000); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	if found := check(); strings.Join(found, " ") != "C D" {
		t.Errorf("found %q", found)
	}

	run := func(dir string) (string, error) {
		cmd := spoolCommand()
		var out bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetErr(io.Discard)
		cmd.SetArgs([]string{"check", dir})
		err := cmd.ExecuteContext(background)
		return out.String(), err
	}
	if _, err := run(dir); err == nil || !strings.Contains(err.Error(), "the running server is asked") {
		t.Errorf("in use: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	out, err := run(dir)
	if err == nil || err.Error() != "2 messages are not whole" || !strings.Contains(out, "253 messages of 1.0 MiB, 2 not whole\n") || !strings.Contains(out, "C: ") {
		t.Errorf("%v: %s", err, out)
	}
	if _, err := run(t.TempDir()); err == nil || !strings.Contains(err.Error(), "is not a spool") {
		t.Error(err)
	}
}
