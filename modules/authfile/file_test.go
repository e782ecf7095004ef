package authfile

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
)

func provision(t *testing.T, path string) (*File, error) {
	t.Helper()
	f := &File{Path: path}
	err := f.Provision(msatest.Context(t))
	t.Cleanup(func() { _ = f.Cleanup() })
	return f, err
}

func usersFile(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "users.passwd")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

//
func TestConformance(t *testing.T) {
	f, err := provision(t, usersFile(t, "# users\nalice@example.org:{PLAIN}secret\n"))
	if err != nil {
		t.Fatal(err)
	}
	msatest.Auth(t, f, msatest.User{Name: "alice@example.org", Password: "secret", DigestUser: "alice", Realm: "example.org", SCRAM: true})
}

// A changed file counts without a reload of the configuration; one that does not
// parse leaves the old users in place.
func TestHotReload(t *testing.T) {
	path := usersFile(t, "alice@example.org:{PLAIN}first\n")
	f, err := provision(t, path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, peer := context.Background(), caddymsa.Peer{IP: netip.MustParseAddr("127.0.0.1")}
	takes := func(password string) bool {
		_, err := f.VerifyPassword(ctx, peer, "alice@example.org", password)
		return err == nil
	}
	write := func(text string) {
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	await := func(password string) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); !takes(password); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("the change was not seen")
			}
		}
	}
	write("alice@example.org:{PLAIN}second\n")
	await("second")
	if takes("first") {
		t.Error("the old password still counts")
	}
	write("alice@example.org:{ROT13}nonsense\n")
	f.reload() // what the watch will do
	if !takes("second") {
		t.Error("a broken file took the users away")
	}
	write("alice@example.org:{PLAIN}third\n")
	await("third")
}

func TestBadFile(t *testing.T) {
	for text, want := range map[string]string{
		"alice:{PLAIN}a\n:{PLAIN}b\n":        "line 2",
		"alice:{ROT13}a\n":                   "line 1",
		"alice:{PLAIN}a\nalice:{PLAIN}b\n":   "line 2",
		"alice:{PLAIN}a::::::nopassword=y\n": "line 1",
	} {
		path := usersFile(t, text)
		if _, err := provision(t, path); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	if _, err := provision(t, ""); err == nil {
		t.Error("no path: no error")
	}
	if _, err := provision(t, "{env.NO_SUCH_VARIABLE}"); err == nil {
		t.Error("an unset variable: no error")
	}
}

func TestCaddyfile(t *testing.T) {
	for text, ok := range map[string]bool{
		"file users": true, "file users {\n cache off\n}": true, "file users {\n cache 1h\n}": true,
		"file": false, "file a b": false, "file users {\n cash 1h\n}": false, "file users {\n cache never\n}": false,
	} {
		if err := new(File).UnmarshalCaddyfile(caddyfile.NewTestDispenser(text)); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}
