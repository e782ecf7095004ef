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
		redis ` + socket + `
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
