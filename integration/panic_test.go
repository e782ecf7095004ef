package integration

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// A panic in a module, at the end of data or anywhere in a spool, a watcher or an event handler, ends the session with 421
// where there is one: the draft is aborted, the policies are told, and Caddy lives on.
func TestPanics(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "caddy")
	if err := link(".", nil, binary, "./testdata/brittle"); err != nil {
		t.Fatal(err)
	}
	s := newServer(t)
	s.binary = binary
	s.write("brittle", "")
	s.write("Caddyfile", strings.ReplaceAll(s.caddyfile(layout{
		global: "events {\n on message_accepted brittle\n}",
		msa:    "policy brittle $DIR/brittle",
	}), "spool file", "spool brittle"))
	s.writeUsers("")
	s.run()
	trust := s.tlsConfig()
	submit := func(subject string) error {
		c, err := s.alice(trust)
		if err != nil {
			t.Fatal(err)
		}
		defer c.close()
		_, err = c.submit("alice@example.org", "bob@example.net", letter(subject))
		return err
	}
	for n, method := range []string{"policy", "Create", "Write", "Commit"} {
		s.write("brittle", method)
		if err := submit(method); err == nil || !strings.Contains(err.Error(), "421") {
			t.Errorf("a panic in %s: %v", method, err)
		}
		s.await("the end of "+method, func() bool { return strings.Count(s.log.String(), `"msg":"told of the end","accepted":false`) > n })
	}
	s.logged("reading changed files panicked", "a bug in a watcher")
	s.write("brittle", "Lease Size")
	if err := submit("accepted meanwhile"); err != nil {
		t.Error(err)
	}
	s.logged("a handler of events panicked", "a bug in a handler of events")
	s.logged("the spool panicked", "a bug in Lease")
	if status, body := s.adminRequest(http.MethodGet, "/msa/health", ""); status != http.StatusServiceUnavailable || !strings.Contains(body, "panicked") {
		t.Errorf("health: %d %s", status, body)
	}
	_, _ = s.adminRequest(http.MethodGet, "/metrics", "")
	s.write("brittle", "Record Damaged")
	s.logged("the spool panicked", "a bug in Record")
	_, _ = s.adminRequest(http.MethodGet, "/metrics", "")
	s.logged("the spool panicked", "a bug in Damaged")
	s.write("brittle", "")
	if err := submit("the last"); err != nil {
		t.Error(err)
	}
	s.mail("bob@example.net", 2)
	s.await("the end of what could not be recorded", func() bool {
		status, body := s.adminRequest(http.MethodGet, "/msa/queue", "")
		return status == http.StatusOK && !strings.Contains(body, `"id"`)
	})
}
