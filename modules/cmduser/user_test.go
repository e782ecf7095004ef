package cmduser

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
)

// What a line says besides stays, such as where the user may come from.
func TestEdit(t *testing.T) {
	u := user{name: "alice", credentials: []string{"{PLAIN}new", "{PLAIN.hex}6e6577"}}
	const now = "alice:{PLAIN}new {PLAIN.hex}6e6577"
	with := u
	with.setAddresses, with.addresses = true, []string{"a@example.org", "@example.net"}
	without := u
	without.setAddresses = true
	for name, c := range map[string]struct {
		u          user
		text, want string
		replaced   bool
	}{
		"new file":         {u, "", now + "\n", false},
		"at the end":       {u, "bob:{PLAIN}x\r\n#alice:{PLAIN}x\n\n", "bob:{PLAIN}x\r\n#alice:{PLAIN}x\n\n" + now + "\n", false},
		"no line end":      {u, "bob:{PLAIN}x", "bob:{PLAIN}x\n" + now + "\n", false},
		"in the middle":    {u, "a:{PLAIN}x\nalice:{PLAIN}old\nb:{PLAIN}x", "a:{PLAIN}x\n" + now + "\nb:{PLAIN}x", true},
		"last, no end":     {u, "alice:{PLAIN}old", now, true},
		"CRLF":             {u, "alice:{PLAIN}old\r\nb:{PLAIN}x\r\n", now + "\r\nb:{PLAIN}x\r\n", true},
		"byte order mark":  {u, "\ufeffalice:{PLAIN}old\n", "\ufeff" + now + "\n", true},
		"name only":        {u, "alice\n", now + "\n", true},
		"longer name":      {u, "alice2:{PLAIN}x\n", "alice2:{PLAIN}x\n" + now + "\n", false},
		"other fields":     {u, "alice:x:1:2::/home::allow_nets=192.0.2.0/24 addresses=b@example.org x:y\n", now + ":1:2::/home::allow_nets=192.0.2.0/24 addresses=b@example.org x:y\n", true},
		"other addresses":  {with, "alice:x:1:2::/home::allow_nets=192.0.2.0/24 addresses=b@example.org nologin\n", now + ":1:2::/home::allow_nets=192.0.2.0/24 nologin addresses=a@example.org,@example.net\n", true},
		"addresses, short": {with, "alice:x\n", now + "::::::addresses=a@example.org,@example.net\n", true},
		"no addresses":     {without, "alice:x::::::addresses=b@example.org\n", now + "::::::\n", true},
	} {
		got, replaced, err := c.u.edit(c.text)
		if err != nil || got != c.want || replaced != c.replaced {
			t.Errorf("%s: %q, %t, %v, want %q", name, got, replaced, err, c.want)
		}
	}
}

// What the server would refuse to read is not written.
func TestBrokenFile(t *testing.T) {
	for text, want := range map[string]string{
		"bob:{ROT13}x\n": "line 1",
		"carol:{PLAIN}x\nalice@example.org:{PLAIN}x::::::nopassword\n":           "nopassword",
		"alice@example.org:{PLAIN}x\nbob:{PLAIN}x\nalice@example.org:{PLAIN}x\n": "line 3",
	} {
		path := filepath.Join(t.TempDir(), "users.passwd")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := run(t, "secret\n", "alice@example.org", "--file", path, "--scheme", "PLAIN")
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "nothing was written") {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
		if b, _ := os.ReadFile(path); string(b) != text {
			t.Errorf("%q has become %q", text, b)
		}
		if files, _ := os.ReadDir(filepath.Dir(path)); len(files) != 1 {
			t.Error("a file was left behind:", files)
		}
	}
}

func TestDisabled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users.passwd")
	if err := os.WriteFile(path, []byte("alice@example.org:{PLAIN}x::::::nologin\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := run(t, "secret\n", "alice@example.org", "--file", path, "--scheme", "PLAIN"); err != nil || !strings.Contains(out, "still disabled") {
		t.Error(out, err)
	}
}

func TestRealm(t *testing.T) {
	for _, args := range [][]string{
		{"--scheme", "digest-md5", "--realm", "MSA.example.org"}, {"--scheme", "DIGEST-MD5.realm=MSA.example.org"},
	} {
		out, err := run(t, "secret\n", append(args, "scanner")...)
		if err != nil {
			t.Fatal(out, err)
		}
		u, err := passwd.ParseLine(strings.TrimSpace(out))
		if err != nil || len(u.DigestHA1("scanner", "MSA.example.org")) != 1 {
			t.Errorf("%v: %s: not for the realm as it was written: %v", args, out, err)
		}
	}
	for want, args := range map[string][]string{
		"add --realm":        {"scanner", "--scheme", "DIGEST-MD5"},
		"add it to --scheme": {"alice@example.org", "--realm", "msa.example.org"},
		"at least one":       {"alice@example.org", "--scheme", ""},
	} {
		if _, err := run(t, "secret\n", args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %s", args, err, want)
		}
	}
}

func TestSymlinkStays(t *testing.T) {
	dir := t.TempDir()
	real, link := filepath.Join(dir, "real"), filepath.Join(dir, "users.passwd")
	if err := os.WriteFile(real, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real", link); err != nil {
		t.Skip(err)
	}
	if out, err := run(t, "secret\n", "alice@example.org", "--file", link, "--scheme", "PLAIN"); err != nil {
		t.Fatal(out, err)
	}
	if target, err := os.Readlink(link); err != nil || target != "real" {
		t.Error("the link is gone:", target, err)
	}
	if b, _ := os.ReadFile(real); string(b) != "alice@example.org:{PLAIN}secret\n" {
		t.Errorf("%q", b)
	}
}

// Commands at the same time, as a script may start them, lose no user.
func TestConcurrently(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no lock there")
	}
	path := filepath.Join(t.TempDir(), "users.passwd")
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			u := user{name: string(rune('a' + i)), credentials: []string{"{PLAIN}secret"}}
			if _, err := write(path, u); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if b, _ := os.ReadFile(path); strings.Count(string(b), "\n") != 20 {
		t.Errorf("of 20 users there are:\n%s", b)
	}
}

// Clients of DIGEST-MD5 hash letters beyond ASCII in one of two ways: the line serves both.
func TestDigestOfUmlauts(t *testing.T) {
	for password, want := range map[string]int{"pässwörd": 3, "password": 2} {
		path := filepath.Join(t.TempDir(), "users.passwd")
		if _, err := run(t, password+"\n", "alice@example.org", "--file", path, "--scheme", "SHA256-CRYPT,DIGEST-MD5", "--realm", "msa.example.org"); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		u, err := passwd.ParseLine(strings.TrimSpace(string(b)))
		if err != nil || len(u.Credentials) != want {
			t.Errorf("%s: %v, %v", password, u, err)
		}
	}
}
