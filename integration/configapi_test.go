package integration

import (
	"crypto/tls"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// The admin API reads and changes single values of the app, and refuses those that cannot
// be. A session that is open sees the change at its next EHLO.
func TestConfigAPI(t *testing.T) {
	t.Parallel()
	s := start(t, layout{msa: "limits {\n message_size 1MiB\n}"})
	path := "/config/apps/msa/servers/" + hostname + "/limits/message_size"
	c, err := connect("tcp", s.implicit, s.tlsConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	announced := func(size string) {
		t.Helper()
		if err := c.send("EHLO client.example.org\r\n"); err != nil {
			t.Fatal(err)
		}
		reply, err := c.reply()
		if err != nil || !strings.Contains(reply, "\r\n250-SIZE "+size+"\r\n") {
			t.Errorf("want SIZE %s in %q, %v", size, reply, err)
		}
	}
	announced("1048576")
	for _, step := range []struct { // Caddy's /config/ says 500 where its /load says 400
		method, path, body string
		status             int
		answer, size       string
	}{
		{"GET", path, "", 200, "1048576", "1048576"},
		{"PATCH", path, "2097152", 200, "", "2097152"},
		{"POST", path, "3145728", 200, "", "3145728"},
		{"GET", path, "", 200, "3145728", "3145728"},
		{"PATCH", path, "-1", 500, "message_size", "3145728"},
		{"PATCH", path, `"much"`, 500, "cannot unmarshal", "3145728"},
		{"PATCH", "/config/apps/msa/servers/" + hostname + "/hostname", `"not a name"`, 500, "hostname", "3145728"},
		{"PUT", "/config/apps/msa/servers/" + hostname + "/limits/recipients", "99", 500, "RFC 5321", "3145728"},
		{"GET", path, "", 200, "3145728", "3145728"}, // what was refused is not what is told
		{"DELETE", path, "", 200, "", "52428800"},
	} {
		status, answer := s.adminRequest(step.method, step.path, step.body)
		if status != step.status || !strings.Contains(answer, step.answer) {
			t.Errorf("%s %s %s: %d %s", step.method, step.path, step.body, status, answer)
		}
		announced(step.size)
	}
	status, answer := s.adminRequest("GET", "/config/apps/msa", "")
	if status != http.StatusOK || !json.Valid([]byte(answer)) || strings.Contains(answer, "secret") {
		t.Errorf("%d %s", status, answer)
	}
	if err := all(
		func() error { return c.login("alice@example.org", "secret") },
		func() error { return c.finish("after all that") },
	); err != nil {
		t.Error(err)
	}
	s.mail("bob@example.net", 1)
	if conn, err := tls.Dial("tcp", s.implicit, s.tlsConfig()); err != nil {
		t.Error(err)
	} else {
		_ = conn.Close()
	}
}
