package cmduser

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/counts"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
)

// All that the commands do with a file, without a server.
func TestManageFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users.passwd")
	const before = "# staff\nalice@example.org:{PLAIN}x::::::attr_plan=gold allow_nets=192.0.2.0/24\nbob:{DIGEST-MD5.realm=R}0123456789abcdef0123456789abcdef\n"
	if err := os.WriteFile(path, []byte(before), 0o640); err != nil {
		t.Fatal(err)
	}
	do := func(want string, args ...string) string {
		t.Helper()
		out, err := run(t, "", append(args, "--file", path)...)
		if err != nil {
			out += err.Error()
		}
		if !strings.Contains(out, want) {
			t.Errorf("%v: %q, want %q", args, out, want)
		}
		return out
	}
	do("alice@example.org  enabled", "list")
	do("alice@example.org is disabled", "disable", "Alice@example.org")
	do("alice@example.org  disabled", "list")
	do("alice@example.org is enabled", "enable", "alice@example.org")
	out := do("log in as alice@example.org, or with SCRAM as alice@example.org+phone", "app-password", "add", "alice@example.org", "phone", "--expires", "2999-01-01", "--nets", "192.0.2.0/24,local", "--scheme", "SCRAM-SHA-256,DIGEST-MD5", "--realm", "R")
	secret := regexp.MustCompile(`(?m)^[a-z0-9]{26,}$`).FindString(out)
	text, _ := os.ReadFile(path)
	table, err := passwd.Parse(strings.NewReader(string(text)), "")
	if err != nil || secret == "" || strings.Contains(string(text), secret) {
		t.Fatalf("%v, %q", err, text)
	}
	if ok, err := table.Lookup("alice@example.org").Verify(secret); !ok || err != nil {
		t.Error("the secret does not fit:", err)
	}
	out = do("attribute   plan = gold", "show", "alice@example.org")
	if !strings.Contains(out, "phone         2999-01-01T00:00:00Z  192.0.2.0/24 local  SCRAM-SHA-256 DIGEST-MD5.realm=R  -") || strings.Contains(out, "4096") {
		t.Error(out)
	}
	do("there is an application password phone already", "app-password", "add", "alice@example.org", "PHONE")
	do("phone of alice@example.org is revoked", "app-password", "revoke", "alice@example.org", "phone")
	do("no application password", "app-password", "revoke", "alice@example.org", "phone")
	do("old name", "rename", "bob", "robert")
	do("is the same as", "rename", "robert", "alice@example.org")
	do("robert was deleted", "delete", "robert")
	do("no such user", "delete", "robert")
	do("the new name is required", "rename", "alice@example.org", "")
	do("is in the past", "app-password", "add", "alice@example.org", "phone", "--expires", "2020-01-01")
	for _, label := range []string{"", "a b", "a;b", "a/b", "x{y", "ünï", "a\nb", strings.Repeat("a", 64)} {
		do("a label has 1 to 63", "app-password", "add", "alice@example.org", label)
	}
	for _, nets := range []string{"192.0.2.0/24;x", "192.0.2.0/24 nologin", "fe80::1%eth0", "2001:db8::/129"} {
		do("is not a network", "app-password", "add", "alice@example.org", "phone", "--nets", nets)
	}
	do(`"label":"six","secret":"`, "app-password", "add", "alice@example.org", "six", "--nets", "2001:db8::/32,::1", "--json")
	do(`"allow_nets":["2001:db8::/32","::1/128"]`, "show", "alice@example.org", "--json")
	do(`{"server":"","backend":"","name":"alice@example.org"`, "list", "--json")
	do("a rename through the running server keeps that", "rename", "alice@example.org", "anna@example.org")
	do("is now alice", "rename", "anna@example.org", "alice@example.org")
	do("six of alice@example.org is revoked", "app-password", "revoke", "alice@example.org", "six")
	do("no such user", "show", "robert")
	if text, _ := os.ReadFile(path); string(text) != strings.SplitAfterN(before, "\n", 3)[0]+strings.SplitAfterN(before, "\n", 3)[1] {
		t.Errorf("%q", text)
	}
}

// What list and show print, in full.
func TestManageOutput(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users.passwd")
	const text = "bob@example.org:{PLAIN}x::::::nologin addresses=b@example.net,@example.com allow_nets=192.0.2.0/24,local attr_plan=gold attr_org=acme" +
		" app_password=phone;expires=2026-01-31;nets=2001:db8::/32;{PLAIN}y app_password=tablet;{PLAIN}z\nalice:{PLAIN}x {SHA256}K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=\ncarol:{CRAM-MD5}x\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"list": `USER             STATE     PASSWORD      APP PASSWORDS  BACKEND
alice            enabled   PLAIN SHA256  -              -
bob@example.org  disabled  PLAIN         phone tablet   -
carol            disabled  -             -              -
`,
		"show bob@example.org": `user        bob@example.org
state       disabled
password    PLAIN
addresses   b@example.net @example.com
networks    192.0.2.0/24 local
attribute   org = acme
attribute   plan = gold

APP PASSWORD  EXPIRES                         NETWORKS       SCHEMES  LAST USED
phone         2026-01-31T00:00:00Z (expired)  2001:db8::/32  PLAIN    -
tablet        -                               -              PLAIN    -
`,
	} {
		out, err := run(t, "", append(strings.Fields(name), "--file", path)...)
		if err != nil || out != want {
			t.Errorf("%s: %v\n%s\nwant\n%s", name, err, out, want)
		}
	}
}

// A file that is missing or is none is told of, and not made, unless a user is.
func TestManageNoFile(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{filepath.Join(dir, "nowhere"): "no such file", dir: "is not a regular file"} {
		for _, args := range [][]string{{"list"}, {"show", "alice"}, {"disable", "alice"}, {"delete", "alice"}, {"rename", "alice", "bob"}, {"app-password", "add", "alice", "phone"}, {"app-password", "revoke", "alice", "phone"}} {
			if out, err := run(t, "", append(args, "--file", path)...); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v of %s: %v\n%s", args, path, err, out)
			}
		}
	}
	if all, _ := filepath.Glob(filepath.Join(dir, "*")); len(all) != 0 {
		t.Error(all)
	}
	path := filepath.Join(dir, "app-passwords")
	if out, err := run(t, "", "app-password", "add", "alice", "phone", "--new", "--file", path); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info, err)
	}
}

// A name or a place that is empty, as of a shell's variable that is not set, is neither all users nor another place.
func TestManageEmpty(t *testing.T) {
	for _, name := range []string{"show", "disable", "enable", "delete"} {
		for _, args := range [][]string{{""}, {" "}, {"alice", "--file", ""}, {"alice", "--server", ""}, {"alice", "--backend="}, {"alice", "--address", ""}, {"alice", "--config", ""}} {
			if out, err := run(t, "", append([]string{name}, args...)...); err == nil || !strings.Contains(err.Error(), "empty") {
				t.Errorf("%s %q: %v\n%s", name, args, err, out)
			}
		}
	}
	if out, err := run(t, "secret\n", "alice", "--password-stdin", "--file", ""); err == nil {
		t.Error(out)
	}
}

// What the commands ask the server, and what they print of what it says.
func TestManageServer(t *testing.T) {
	const evil = "\x1b[2J"
	summary := passwd.Summary{Name: "alice@example.org" + evil, Schemes: []string{"ARGON2ID"}, AppPasswords: []passwd.AppSummary{{Label: "phone", LastUsed: time.Date(2026, 11, 29, 8, 0, 0, 0, time.UTC), Expired: true, Expires: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}}}
	for _, tt := range []struct {
		args   []string
		asked  string
		answer any
		want   string
	}{
		{[]string{"show", "a/b c"}, "GET /msa/users/a%2Fb%20c ", adminapi.User{Server: "main", Backend: "file", Summary: summary}, "2026-11-29T08:00:00Z"},
		{[]string{"show", "alice", "--server", "main"}, "GET /msa/users/alice?server=main ", adminapi.User{Summary: summary}, "2026-01-01T00:00:00Z (expired)"},
		{[]string{"list", "--backend", "sql"}, "GET /msa/users?backend=sql ", []adminapi.UserPage{{Server: "main", Backend: "sql", Users: []passwd.Summary{summary}, Error: "no answer" + evil}}, "Error: main/sql: no answer"},
		{[]string{"disable", "alice"}, `POST /msa/user-actions/disable {"user":"alice"}`, adminapi.UserChanged{User: "Alice" + evil}, "is disabled"},
		{[]string{"rename", "alice", "bob"}, `POST /msa/user-actions/rename {"user":"alice","to":"bob"}`, adminapi.UserChanged{User: "alice", Note: "a note"}, "alice is now bob\na note"},
		{[]string{"app-password", "add", "alice", "phone", "--expires", "2999-01-01", "--nets", "local"}, `POST /msa/user-actions/add-app-password {"user":"alice","label":"phone","expires":"2999-01-01","allow_nets":["local"]}`, adminapi.UserChanged{User: "alice", Secret: "s3cret"}, "\ns3cret\n"},
		{[]string{"app-password", "revoke", "alice", "phone"}, `POST /msa/user-actions/revoke-app-password {"user":"alice","label":"phone"}`, adminapi.UserChanged{User: "alice"}, "phone of alice is revoked"},
	} {
		asked := ""
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			asked = r.Method + " " + r.URL.RequestURI() + " " + string(body)
			_ = json.NewEncoder(w).Encode(tt.answer)
		}))
		out, _ := run(t, "", append(tt.args, "--address", srv.Listener.Addr().String())...)
		srv.Close()
		if strings.TrimSpace(asked) != strings.TrimSpace(tt.asked) || !strings.Contains(out, tt.want) || strings.Contains(out, evil) {
			t.Errorf("%v: asked %s\n%q, want %q", tt.args, asked, out, tt.want)
		}
	}
	pages := map[string]adminapi.UserPage{"": {Server: "s", Backend: "b", Users: []passwd.Summary{{Name: "alice"}}, Next: "alice"}, "alice": {Server: "s", Backend: "b", Users: []passwd.Summary{{Name: "bob", Disabled: true}}}}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode([]adminapi.UserPage{pages[r.URL.Query().Get("after")]})
	}))
	defer srv.Close()
	if out, err := run(t, "", "list", "--address", srv.Listener.Addr().String()); err != nil || !strings.Contains(out, "alice  enabled") || !strings.Contains(out, "bob    disabled") {
		t.Errorf("%v: %s", err, out)
	}
	pages["alice"] = pages[""] // of a statement that pays no heed to where the list goes on
	if out, err := run(t, "", "list", "--address", srv.Listener.Addr().String()); err == nil || !strings.Contains(err.Error(), "s/b: the list does not go on behind alice") {
		t.Errorf("%v: %s", err, out)
	}
}

// What is left, in a table; what nobody can tell, below it.
func TestQuota(t *testing.T) {
	now := time.Date(2026, 11, 29, 8, 0, 0, 0, time.UTC)
	var out strings.Builder
	err := showQuota(&out, []adminapi.UserQuota{{Server: "main", User: "alice", Backend: "file", Limits: []adminapi.PolicyQuota{
		{Policy: "rate_limit", Quota: counts.Quota{What: "messages", Per: "1h", Allowed: 100, Left: 40, Back: now.Add(36 * time.Minute)}},
		{Policy: "rate_limit", Sometimes: true, Quota: counts.Quota{What: "bytes", Per: "24h", Allowed: 1 << 30, Left: 1 << 29, By: "org acme"}},
		{Policy: "rate_limit", LogOnly: true, Quota: counts.Quota{What: "messages", Per: "24h", Unlimited: true}},
		{Policy: "recipients", Quota: counts.Quota{What: "recipients", Per: "day", Allowed: 5, Problem: "redis: no answer\x1b[2J"}},
	}}}, now)
	const want = `SERVER  POLICY      WHAT        PER  ALLOWED    LEFT       ALL BACK IN  OF
main    rate_limit  messages    1h   100        40         36m0s        alice
main    rate_limit  bytes       24h  1.0 GiB    512 MiB    -            org acme (some messages)
main    rate_limit  messages    24h  unlimited  unlimited  -            alice (log only)
main    recipients  recipients  day  5          ?          -            alice
recipients: recipients per day: redis: no answer?[2J
`
	if err != nil || out.String() != want {
		t.Errorf("%v:\n%s", err, out.String())
	}
	out.Reset()
	if err := showQuota(&out, []adminapi.UserQuota{{Server: "main", User: "alice", Backend: "file"}}, now); err != nil || out.String() != "no policy limits how much the user may submit\n" {
		t.Errorf("%v: %s", err, out.String())
	}
	asked := ""
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.RequestURI()
		_, _ = io.WriteString(w, "[]")
	}))
	defer srv.Close()
	cmd := quotaCommand()
	cmd.SetArgs([]string{"a/b", "--server", "main", "--ip", "192.0.2.1", "--address", srv.Listener.Addr().String()})
	cmd.SetOut(io.Discard)
	if err := cmd.Execute(); err != nil || asked != "/msa/quota/a%2Fb?ip=192.0.2.1&server=main" {
		t.Error(asked, err)
	}
}
