package usersfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
)

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "users.passwd")
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	return path
}

func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Everything but the user's line stays, octet for octet: comments, empty lines, line ends, a mark at the start, and the mode.
func TestChange(t *testing.T) {
	const before = "\ufeff# staff\r\nalice:{PLAIN}x::::::a=b\r\n\r\n#alice:{PLAIN}x\nBob:{PLAIN}y\n  \nlast:{PLAIN}z"
	for _, tt := range []struct {
		name   string
		change passwd.Change
		want   string
	}{
		{"ALICE", passwd.Change{Disable: true}, strings.Replace(before, "a=b", "a=b nologin", 1)},
		{"bob", passwd.Change{Delete: true}, strings.Replace(before, "Bob:{PLAIN}y\n", "", 1)},
		{"bob", passwd.Change{Rename: "carol"}, strings.Replace(before, "Bob:", "carol:", 1)},
		{"last", passwd.Change{Delete: true}, strings.Replace(before, "last:{PLAIN}z", "", 1)},
	} {
		path := file(t, before)
		if _, err := Change(path, names.Folded, tt.name, tt.change); err != nil || content(t, path) != tt.want {
			t.Errorf("%s: %v\n%q\n%q", tt.name, err, content(t, path), tt.want)
		}
		if info, _ := os.Stat(path); info.Mode().Perm() != 0o640 {
			t.Error(info.Mode())
		}
	}
	path := file(t, before)
	for name, change := range map[string]passwd.Change{"nobody": {Disable: true}, "bob": {Rename: "Alice"}, "alice": {RevokeApp: "x"}, "#alice": {Delete: true}, "": {Delete: true}, "# staff": {Delete: true}} {
		if _, err := Change(path, names.Folded, name, change); err == nil || content(t, path) != before {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A file whose last user was deleted says that this is meant: one without users is refused otherwise. Who is added next takes the line away.
func TestLastUser(t *testing.T) {
	for before, after := range map[string]string{
		"alice:{PLAIN}x\n":                      "# no users\n",
		"# staff\r\nalice:{PLAIN}x":             "# staff\r\n# no users\r\n",
		"\ufeffalice:{PLAIN}x\r\n":              "\ufeff# no users\n",
		"# no users\nalice:{PLAIN}x\n\n# end\n": "# no users\n\n# end\n",
	} {
		path := file(t, before)
		if _, err := Change(path, names.Folded, "alice", passwd.Change{Delete: true}); err != nil || content(t, path) != after {
			t.Errorf("%q: %v\n%q\n%q", before, err, content(t, path), after)
		}
		if _, err := Change(path, names.Folded, "alice", passwd.Change{Disable: true}); !errors.Is(err, ErrUnknown) {
			t.Error(err)
		}
		table, err := Edit(path, names.Folded, func(text string) (string, error) { return text + "bob:{PLAIN}y\n", nil })
		if err != nil || table.Len() != 1 || strings.Contains(content(t, path), "no users") {
			t.Errorf("%v: %q", err, content(t, path))
		}
	}
	if _, err := passwd.Parse(strings.NewReader("# staff\n\n"), names.Folded); err == nil || !strings.Contains(err.Error(), `if nobody is meant, write "# no users"`) {
		t.Error(err)
	}
}

// A user of another backend gets a line of its own with its first application password, under a name that a line can begin with.
func TestNewUser(t *testing.T) {
	app, _, err := passwd.MakeApp("alice@example.org", "phone", "", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, before := range []string{"# no users\n", "bob:{PLAIN}y", ""} {
		path := file(t, before)
		if _, err := Change(path, names.Folded, "alice@example.org", passwd.Change{AddApp: app}); !errors.Is(err, ErrUnknown) {
			t.Error(err)
		}
		for _, name := range []string{"a:b", "#a", "", " a", "a\nb"} {
			if _, err := Change(path, names.Folded, name, passwd.Change{AddApp: app, New: true}); !errors.Is(err, passwd.ErrRefused) || content(t, path) != before {
				t.Errorf("%q: %v, %q", name, err, content(t, path))
			}
		}
		if _, err := Change(path, names.Folded, "alice@example.org", passwd.Change{AddApp: app, New: true}); err != nil {
			t.Fatal(err)
		}
		got := content(t, path)
		if before == "bob:{PLAIN}y" {
			if !strings.HasPrefix(got, before+"\nalice@example.org:::::::app_password=phone;{SCRAM") {
				t.Errorf("%q", got)
			}
		} else if !strings.HasPrefix(got, "alice@example.org:::::::app_password=phone;{SCRAM") {
			t.Errorf("%q", got)
		}
	}
}

// Many change one file at once, and nobody's change is lost.
func TestConcurrentChanges(t *testing.T) {
	var text strings.Builder
	for i := range 40 {
		fmt.Fprintf(&text, "# number %d\nuser%d:{PLAIN}x\n", i, i)
	}
	path := file(t, text.String())
	var working sync.WaitGroup
	for i := range 40 {
		working.Go(func() {
			if _, err := Change(path, names.Folded, fmt.Sprintf("user%d", i), passwd.Change{Disable: true}); err != nil {
				t.Error(err)
			}
		})
	}
	working.Wait()
	if got := content(t, path); strings.Count(got, "nologin") != 40 || strings.Count(got, "# number") != 40 {
		t.Error(got)
	}
	left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
	if len(left) != 1 {
		t.Error(left)
	}
}

// An editor knows no lock: what it writes between is not overwritten, and who never stops is told of.
func TestEditorBetween(t *testing.T) {
	path := file(t, "alice:{PLAIN}x\n")
	calls := 0
	_, err := Edit(path, names.Folded, func(text string) (string, error) {
		if calls++; calls == 1 {
			if err := os.WriteFile(path, []byte("alice:{PLAIN}x\nbob:{PLAIN}y\n"), 0o640); err != nil {
				t.Fatal(err)
			}
		}
		edited, _, err := ChangeText(text, names.Folded, "alice", passwd.Change{Disable: true})
		return edited, err
	})
	if got := content(t, path); err != nil || calls != 2 || got != "alice:{PLAIN}x::::::nologin\nbob:{PLAIN}y\n" {
		t.Errorf("%d calls, %v: %q", calls, err, got)
	}
	_, err = Edit(path, names.Folded, func(text string) (string, error) {
		if err := os.WriteFile(path, []byte(text+"# again\n"), 0o640); err != nil {
			t.Fatal(err)
		}
		return text + "carol:{PLAIN}z\n", nil
	})
	if got := content(t, path); !errors.Is(err, ErrBusy) || strings.Contains(got, "carol") || strings.Count(got, "# again") != tries {
		t.Errorf("%v: %q", err, got)
	}
}
