package cmduser

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
)

func run(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	cmd := newCommand()
	var out bytes.Buffer
	cmd.SetArgs(args)
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	err := cmd.Execute()
	return out.String(), err
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users.passwd")
	const other = "# a comment\n\nbob@example.net:{PLAIN}hunter2"
	if err := os.WriteFile(path, []byte(other), 0o640); err != nil {
		t.Fatal(err)
	}
	for _, password := range []string{"first", "second"} {
		if out, err := run(t, password+"\n", "alice@example.org", "--file", path, "--scheme", "SHA512-CRYPT,SCRAM-SHA-256,DIGEST-MD5", "--realm", "msa.example.org", "--addresses", "@example.org,a@example.net"); err != nil {
			t.Fatal(err, out)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(b), other+"\n") || strings.Count(string(b), "alice@example.org:") != 1 {
			t.Fatalf("the file is now:\n%s", b)
		}
		table, err := passwd.Parse(bytes.NewReader(b), names.Folded)
		if err != nil {
			t.Fatal(err)
		}
		alice := table.Lookup("alice@example.org")
		if ok, err := alice.Verify(password); !ok || err != nil {
			t.Error(password, ok, err)
		}
		if len(alice.Credentials) != 3 || len(alice.Addresses) != 2 || len(alice.DigestHA1("alice@example.org", "msa.example.org")) != 1 {
			t.Errorf("%d credentials, %d addresses", len(alice.Credentials), len(alice.Addresses))
		}
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o640 {
		t.Error("mode", info.Mode())
	}
}

// A name that differs from one that is there in case only is the same user, who keeps the spelling of the file,
// unless case exact is said.
func TestCase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users.passwd")
	if err := os.WriteFile(path, []byte("\ufeff# users\r\nalice@example.org:{PLAIN}x::::::nologin\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"Alice@Example.org", "--file", path, "--scheme", "PLAIN,DIGEST-MD5"}
	if out, err := run(t, "secret\n", args...); err != nil || !strings.HasPrefix(out, "alice@example.org has another password") {
		t.Error(out, err)
	}
	after, _ := os.ReadFile(path)
	table, err := passwd.Parse(bytes.NewReader(after), names.Folded)
	if err != nil || table.Len() != 1 || !table.Lookup("ALICE@example.org").Disabled || len(table.Lookup("alice@example.org").DigestHA1("alice", "example.org")) != 1 {
		t.Fatalf("%s: %v", after, err)
	}
	for _, c := range table.Lookup("alice@example.org").Credentials {
		if ok, err := c.Verify("secret"); !ok || err != nil {
			t.Errorf("%s: %v, %v", c.Scheme(), ok, err)
		}
	}
	if out, err := run(t, "secret\n", append(args, "--case-exact")...); err != nil {
		t.Error(out, err)
	}
	b, err := os.ReadFile(path)
	if table, failed := passwd.Parse(bytes.NewReader(b), names.Exact); err != nil || failed != nil || table.Len() != 2 {
		t.Errorf("%s: %v, %v", b, err, failed)
	}
}

func TestNewFileIsPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users.passwd")
	if out, err := run(t, "secret", "alice@example.org", "--file", path, "--scheme", "PLAIN"); err != nil {
		t.Fatal(err, out)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info, err)
	}
}

func TestPrint(t *testing.T) {
	out, err := run(t, "secret\r\n", "alice@example.org")
	if err != nil {
		t.Fatal(err)
	}
	u, err := passwd.ParseLine(strings.TrimSpace(out))
	if err != nil || len(u.Credentials) != 2 {
		t.Fatal(out, err)
	}
	if ok, _ := u.Verify("secret"); !ok {
		t.Error("the printed line does not take the password")
	}
}

func TestErrors(t *testing.T) {
	for _, args := range [][]string{
		{}, {"alice@example.org", "--scheme", "ROT13"}, {"ali:ce"}, {"alice", "--addresses", "not an address"},
		{"alice", "--file", "/nonexistent/users.passwd"},
	} {
		if out, err := run(t, "secret\n", args...); err == nil {
			t.Errorf("%q: no error: %s", args, out)
		}
	}
	if _, err := run(t, "", "alice"); err == nil {
		t.Error("an empty password was taken")
	}
	for name, want := range map[string]string{"alice": "--scheme: BANANA: unknown scheme", "": "a user name is required"} { // before it asks for one
		if _, err := run(t, "", name, "--scheme", "BANANA"); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
