package integration

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// What is left to a user is what all nodes together have counted, by whichever of them it is asked.
func TestQuota(t *testing.T) {
	t.Parallel()
	socket, _ := startRedis(t, t.TempDir())
	config := layout{auth: "auth {\n\t\tfile $DIR/users.passwd\n\t\tthrottle off\n\t}", msa: `
	policy rate_limit {
		messages {msa.identity.attributes.per_hour} 5
		window   1h
		name     shared
		redis ` + socket + ` {
			timeout 30s
		}
	}
	@others user bob@example.org
	policy @others rate_limit {
		messages 1
		window   1m
	}
	policy recipients {
		max_per_day 50
	}
	policy size {msa.identity.attributes.size} 10MiB
	deliver discard`}
	node := func() *server {
		s := newServer(t)
		s.write("users.passwd", "alice@example.org:{PLAIN}secret::::::attr_per_hour=10 attr_size=1MiB\nbob@example.org:{PLAIN}secret\n")
		s.write("Caddyfile", s.caddyfile(config))
		s.run()
		return s
	}
	one, two := node(), node()
	for _, s := range []*server{one, two, two} {
		s.mustSend(s.tlsConfig(), "alice@example.org", "alice@example.org", "carol@example.net", letter("quota"))
	}
	quota := func(s *server, user string) string {
		t.Helper()
		out, err := exec.Command(binary, "msa", "quota", user, "--address", s.admin).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	for _, s := range []*server{one, two} {
		out := quota(s, "Alice@example.org")
		if !regexp.MustCompile(`rate_limit +messages +1h +10 +[78] `).MatchString(out) || strings.Contains(out, " 1m ") || !regexp.MustCompile(`size +bytes +message +1.0 MiB +1.0 MiB`).MatchString(out) {
			t.Error(out)
		}
	}
	if out := quota(two, "alice@example.org"); !regexp.MustCompile(`recipients +recipients +day +50 +48 `).MatchString(out) {
		t.Error(out) // this node's own
	}
	if out := quota(one, "bob@example.org"); !regexp.MustCompile(`rate_limit +messages +1h +5 +5 `).MatchString(out) || !regexp.MustCompile(`rate_limit +messages +1m +1 +1 `).MatchString(out) {
		t.Error(out)
	}
	if status, body := one.adminRequest("GET", "/msa/quota/nobody%40example.org", ""); status != 404 || !strings.Contains(body, "no backend knows") {
		t.Error(status, body)
	}
	if status, body := one.adminRequest("GET", "/msa/quota/alice%40example.org?ip=x", ""); status != 400 {
		t.Error(status, body)
	}
}

// Whose amounts they are is the backend's to say: of a user who may come from some networks alone with an address from there, and
// where a backend cannot say it the answer does.
func TestQuotaOfWhom(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.write("users.passwd", "alice@example.org:{PLAIN}secret::::::attr_per_hour=10 allow_nets=192.0.2.0/24\nbob@example.org:{PLAIN}secret::::::nologin\n")
	config := layout{auth: "auth {\n\t\tfile $DIR/users.passwd\n\t\tthrottle off\n\t}", msa: `
	policy rate_limit {
		messages {msa.identity.attributes.per_hour} 5
		window   1h
	}
	deliver discard`}
	s.write("Caddyfile", s.caddyfile(config))
	s.run()
	quota := func(args ...string) (string, bool) {
		t.Helper()
		out, err := exec.Command(binary, append(append([]string{"msa", "quota"}, args...), "--address", s.admin)...).CombinedOutput()
		return string(out), err == nil
	}
	for _, tt := range []struct {
		args []string
		ok   bool
		want string
	}{
		{[]string{"alice@example.org", "--ip", "192.0.2.7"}, true, ` messages +1h +10 +10 `},
		{[]string{"alice@example.org"}, true, ` messages +1h +5 +5 (?s:.*)ask again with an address`},
		{[]string{"alice@example.org", "--ip", "192.0.2.7", "--json"}, true, `"backend":"file","limits":\[\{"policy":"rate_limit","what":"messages","per":"1h","allowed":10,"left":10`},
		{[]string{"bob@example.org"}, false, `no backend knows a user "bob@example.org", or the user is disabled`},
		{[]string{"nobody@example.org"}, false, `no backend knows`},
		{[]string{"alice@example.org", "--server", "x"}, false, `there is no server "x"`},
		{[]string{"alice@example.org", "--ip", "x"}, false, `"x" is not an IP address`},
	} {
		if out, ok := quota(tt.args...); ok != tt.ok || !regexp.MustCompile(tt.want).MatchString(out) {
			t.Errorf("%q: %v\n%s\nwant %s", tt.args, ok, out, tt.want)
		}
	}
	config.auth = "auth {\n\t\tfile $DIR/users.passwd\n\t\toauth https://login.example.org {\n\t\t\taudience msa\n\t\t}\n\t}"
	if status, body := s.load(s.caddyfile(config)); status != 200 {
		t.Fatal(status, body)
	}
	if out, ok := quota("carol@example.org"); !ok || !regexp.MustCompile(` messages +1h +5 +5 (?s:.*)oauth cannot look users up`).MatchString(out) {
		t.Errorf("%v\n%s", ok, out)
	}
	config.msa = "\n\tdeliver discard"
	if status, body := s.load(s.caddyfile(config)); status != 200 {
		t.Fatal(status, body)
	}
	if out, ok := quota("carol@example.org"); !ok || out != "no policy limits how much the user may submit\n" {
		t.Errorf("%v\n%s", ok, out)
	}
}
