package authfile

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
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

// Several secrets of a user, each of which says which it was.
func TestAppPasswords(t *testing.T) {
	own, apps := msatest.StoredApps(t)
	line := msatest.AppUser + ":" + own + "::::::addresses=a@example.org"
	for _, a := range apps {
		line += " app_password=" + passwd.FormatAppPassword(a.Label, a.Expires, a.Nets, a.Credentials)
	}
	for _, cache := range []conf.Duration{0, -1} {
		f := &File{Path: usersFile(t, line+"\nbob@example.org:{PLAIN}x\n"), Cache: cache}
		if err := f.Provision(msatest.Context(t)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Cleanup() })
		msatest.AppPasswords(t, f)
		if users, without := f.Survey(caddymsa.CapSCRAM, nil); users != 2 || without != 1 {
			t.Errorf("of %d users %d cannot use SCRAM: with several secrets it fails for all but one", users, without)
		}
	}
}

// The operator's changes are in the file, and count at once.
func TestUsers(t *testing.T) {
	path := usersFile(t, "# all\nalice@example.org:{PLAIN}x\nbob@example.org:{PLAIN}secret::::::attr_a=b\ncarol@example.org:{PLAIN}x\n")
	f, err := provision(t, path)
	if err != nil {
		t.Fatal(err)
	}
	msatest.Users(t, f)
	if text, err := os.ReadFile(path); err != nil || string(text) != "# all\nalice@example.org:{PLAIN}x\ncarol@example.org:{PLAIN}x\n" {
		t.Errorf("%q, %v", text, err)
	}
}

// Users that are read while those before them are taken into use are the ones that stay.
func TestLatestUsers(t *testing.T) {
	if os.Getuid() < 0 {
		t.Skip("there are no modes of files here, which the log would warn of")
	}
	path := usersFile(t, "alice:{PLAIN}secret\n")
	f, err := provision(t, path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o604); err != nil { // there is a line in the log
		t.Fatal(err)
	}
	changed := false
	core, _ := observer.New(zap.WarnLevel)
	f.log = zap.New(core, zap.Hooks(func(zapcore.Entry) error {
		if changed {
			return nil
		}
		changed = true
		if err := os.WriteFile(path, []byte("bob:{PLAIN}secret\n"), 0o604); err != nil {
			return err
		}
		return f.Reload(t.Context())
	}))
	f.file.Use(f.use)
	_, alice := f.Lookup(t.Context(), caddymsa.Peer{}, "alice")
	_, bob := f.Lookup(t.Context(), caddymsa.Peer{}, "bob")
	if !changed || !errors.Is(alice, caddymsa.ErrUnknownUser) || bob != nil {
		t.Errorf("alice, who is gone: %v; bob, who is there: %v", alice, bob)
	}
}

// Attributes are whatever a line says, also in a session that is open.
func TestAttributes(t *testing.T) {
	path := usersFile(t, "alice:{PLAIN}secret::::::attr_per_hour=250 attr_org=acme userdb_mail=x\nbob:{PLAIN}secret\n")
	f, err := provision(t, path)
	if err != nil {
		t.Fatal(err)
	}
	id, err := f.VerifyPassword(context.Background(), caddymsa.Peer{}, "alice", "secret")
	if err != nil || len(id.Attributes) != 2 || id.Attributes["org"] != "acme" {
		t.Errorf("%+v, %v", id, err)
	}
	msatest.Tariff(t, id, "per_hour", 250)
	if err := os.WriteFile(path, []byte("alice:{PLAIN}secret::::::attr_per_hour=300\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.Reload(context.Background()); err != nil {
		t.Fatal(err)
	}
	again, err := f.Lookup(context.Background(), caddymsa.Peer{}, "alice")
	if err != nil || again.Fingerprint != id.Fingerprint {
		t.Error("another tariff is another credential:", err)
	}
	msatest.Tariff(t, again, "per_hour", 300)
	for _, line := range []string{"alice:{PLAIN}secret::::::attr_=1", "alice:{PLAIN}secret::::::attr_a=", "alice:{PLAIN}secret::::::attr_a=1 attr_a=2", "alice:{PLAIN}secret:attr_a=1", "alice:{PLAIN}secret attr_a=1"} {
		if _, err := provision(t, usersFile(t, line+"\n")); err == nil {
			t.Error("no error: " + line)
		}
	}
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
		for end := time.Now().Add(2 * time.Minute); !takes(password); time.Sleep(time.Millisecond) {
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
	if f.Reload(t.Context()) == nil {
		t.Error("no error")
	}
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
		"alice@x secret\n":                   "line 1",
		"a@x:{PLAIN}a\n\nA@x:{PLAIN}b\n":     `line 3: user "A@x" is the same as "a@x" in line 1`,
		"":                                   "line 1: the file ends and has no users",
		"# nobody yet\n":                     "line 2: the file ends and has no users",
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

// A line that is of no use keeps its user out and nobody else, with an error in the log.
func TestUnsupportedScheme(t *testing.T) {
	core, logs := observer.New(zap.ErrorLevel)
	f, err := provision(t, usersFile(t, "alice:{PLAIN}a\nbob:{CRAM-MD5}00112233\n"))
	if err != nil {
		t.Fatal(err)
	}
	f.log = zap.New(core)
	f.use(f.file.Load())
	if all := logs.All(); len(all) != 1 || !strings.Contains(all[0].ContextMap()["error"].(string), `line 2: user "bob"`) {
		t.Error(all)
	}
	if _, err := f.VerifyPassword(t.Context(), caddymsa.Peer{}, "alice", "a"); err != nil {
		t.Error(err)
	}
	if _, err := f.VerifyPassword(t.Context(), caddymsa.Peer{}, "bob", "b"); !errors.Is(err, caddymsa.ErrDisabled) {
		t.Error(err)
	}
}

// With case exact, names that differ in case are different users.
func TestCaseExact(t *testing.T) {
	f := &File{Path: usersFile(t, "a@x.example:{PLAIN}lower\nA@x.example:{PLAIN}upper\n"), Case: names.Exact}
	if err := f.Provision(msatest.Context(t)); err != nil {
		t.Fatal(err)
	}
	defer f.Cleanup()
	id, err := f.VerifyPassword(t.Context(), caddymsa.Peer{}, "A@x.example", "upper")
	if err != nil || id.User != "A@x.example" || id.Case != names.Exact {
		t.Error(id, err)
	}
	if _, err := f.VerifyPassword(t.Context(), caddymsa.Peer{}, "a@x.example", "upper"); !errors.Is(err, caddymsa.ErrWrongPassword) {
		t.Error(err)
	}
}

func TestCaddyfile(t *testing.T) {
	for text, ok := range map[string]bool{
		"file users": true, "file users {\n cache off\n}": true, "file users {\n cache 1h\n}": true, "file users {\n case exact\n}": true, "file users {\n case upper\n}": false,
		"file": false, "file a b": false, "file users {\n cash 1h\n}": false, "file users {\n cache never\n}": false,
	} {
		if err := new(File).UnmarshalCaddyfile(caddyfile.NewTestDispenser(text)); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}
