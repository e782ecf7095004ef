package cmdauth

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
)

var update = flag.Bool("update", false, "write what commands print into testdata")

const evil = "\x1b[2J\u009b"

var address = regexp.MustCompile(`127\.0\.0\.1:\d+`)

// What the commands print of what an admin API says, and what they ask it.
func TestOutput(t *testing.T) {
	for name, tt := range map[string]struct {
		args    []string
		stdin   string
		asked   string
		answers any
		fails   bool
	}{
		"accepted": {[]string{"test", "alice@example.org", "--password-stdin"}, "s3cret\n", `POST /msa/auth/test {"user":"alice@example.org","password":"s3cret","ip":"127.0.0.1"}`,
			[]adminapi.AuthTestAnswer{
				{Server: "main", Backend: "file", Result: "rejected", Reason: "unknown"},
				{Server: "main", Backend: "sql" + evil, Result: "accepted", Mechanisms: []string{"PLAIN", "LOGIN"}, Addresses: []string{"@example.org" + evil}},
			}, false},
		"rejected": {[]string{"test", "alice@example.org", "--password-stdin", "--server", "main", "--ip", "192.0.2.1"}, "wrong", `POST /msa/auth/test {"server":"main","user":"alice@example.org","password":"wrong","ip":"192.0.2.1"}`,
			[]adminapi.AuthTestAnswer{{Server: "main", Backend: "file", Result: "rejected", Reason: "wrong"}, {Server: "main", Backend: "ldap", Result: "unavailable", Error: "connection refused" + evil}}, true},
		"known": {[]string{"test", "alice@example.org", "--no-password"}, "", `POST /msa/auth/test {"user":"alice@example.org","ip":"127.0.0.1"}`,
			[]adminapi.AuthTestAnswer{{Server: "main", Backend: "file", Result: "known", Mechanisms: []string{"SCRAM-SHA-256"}}}, false},
		"no password": {[]string{"test", "alice@example.org", "--password-stdin"}, "\n", "", nil, true},
		"reload":      {[]string{"reload"}, "", "POST /msa/reload/auth null", map[string][]string{"b": {"ldap" + evil}, "a": {"file", "sql"}}, false},
	} {
		asked := ""
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			asked = r.Method + " " + r.URL.RequestURI() + " " + string(body)
			_ = json.NewEncoder(w).Encode(tt.answers)
		}))
		got, err := run(tt.stdin, append(tt.args, "--address", srv.Listener.Addr().String())...)
		srv.Close()
		if (err != nil) != tt.fails || asked != tt.asked || strings.ContainsAny(got, evil[:1]+"\u009b") {
			t.Errorf("%s: %v, asked %s\n%q", name, err, asked, got)
		}
		golden(t, strings.ReplaceAll(name, " ", "_"), got)
	}
	srv := httptest.NewServer(nil)
	srv.Close()
	got, _ := run("", "reload", "--address", srv.Listener.Addr().String())
	golden(t, "unreachable", address.ReplaceAllString(got, "<address>"))
}

// The password is where send and doctor look for it too.
func TestPasswordOfEnvironment(t *testing.T) {
	t.Setenv("MSA_PASSWORD", "s3cret")
	t.Setenv("MSA_TOKEN", "")
	for arg, want := range map[string]string{"--ip=192.0.2.1": "s3cret", "--no-password": "", "--password-stdin": "typed"} {
		var asked adminapi.AuthTestRequest
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_ = json.NewDecoder(r.Body).Decode(&asked)
			_, _ = io.WriteString(w, "[]")
		}))
		_, _ = run("typed\n", "test", "alice@example.org", arg, "--address", srv.Listener.Addr().String())
		srv.Close()
		if asked.User == "" || asked.Password != want {
			t.Errorf("%s: %+v, want %q", arg, asked, want)
		}
	}
}

func run(stdin string, args ...string) (string, error) {
	cmd := newCommand()
	cmd.SilenceErrors = true
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetArgs(args)
	err := cmd.Execute()
	if err != nil {
		fmt.Fprintln(&out, "Error:", err)
	}
	return out.String(), err
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || string(want) != got {
		t.Errorf("%s: %v, have\n%s", name, err, got)
	}
}
