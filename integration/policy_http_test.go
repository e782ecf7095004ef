package integration

import (
	"bytes"
	"net"
	"strings"
	"syscall"
	"testing"
)

// The service of docs/policy-http.md, as it stands there: it takes signed questions only, refuses a
// recipient and a message, adds a field; when it hangs or is gone, clients come again.
func TestHTTPPolicy(t *testing.T) {
	t.Parallel()
	python := need(t, "python3")
	program := need(t, "swaks")
	address := freeAddress(t)
	_, port, _ := net.SplitHostPort(address)
	const key = "0123456789abcdef0123456789abcdef"
	d := newDaemon(t, map[string]string{"service.py": fenced(t, "../docs/policy-http.md", "python")[0]}, need(t, "env"), "CHECK_KEY="+key, "PORT="+port, python, "-B", "$D/service.py")
	d.serves = func() bool {
		nc, err := net.Dial("tcp", address)
		if err == nil {
			_ = nc.Close()
		}
		return err == nil
	}
	d.run()
	policy := func(key string) string {
		return "policy http http://" + address + "/ {\n\t\tmoments recipient message\n\t\thmac_key " + key + "\n\t\ttimeout 10s\n\t}"
	}
	s := start(t, layout{msa: policy(key)})
	send := func(to, subject string) string {
		out, _ := trySwaks(t, program, attempt{implicit: true, address: s.implicit, name: hostname, ca: s.root(), mechanism: "PLAIN",
			user: "alice@example.org", password: "secret", from: "alice@example.org", to: to, message: letter(subject)})
		return out
	}
	for _, tt := range [][3]string{
		{"bob@example.net", "plain", "250 2.0.0 Ok: queued as "},
		{"bob@closed.example.net", "plain", "550 5.1.1 Desk is closed (http: desk)"},
		{"bob@example.net", "again", "450 4.7.1 Not now (http)"},
	} {
		if out := send(tt[0], tt[1]); !strings.Contains(out, tt[2]) {
			t.Errorf("%v:\n%s", tt, out)
		}
	}
	if got := s.mail("bob@example.net", 1)[0]; !bytes.Contains(got, []byte("\r\nX-Checked: yes\r\nFrom: ")) || !bytes.HasSuffix(got, []byte(letter("plain"))) {
		t.Errorf("delivered:\n%s", got)
	}
	trust := s.tlsConfig()
	down := func(what string) {
		t.Helper()
		if got := s.endOfData(trust, letter("x")); got != "451 4.3.0 Temporary failure, try again later" {
			t.Errorf("%s: %s", what, got)
		}
	}
	d.signal(syscall.SIGSTOP)
	down("it hangs")
	d.signal(syscall.SIGKILL)
	down("it is gone")
	d.run()
	if got := s.endOfData(trust, letter("x")); !strings.HasPrefix(got, "250 ") {
		t.Error("it is back:", got)
	}
	if status, body := s.load(s.caddyfile(layout{msa: policy("fedcba9876543210fedcba9876543210")})); status != 200 {
		t.Fatal(body)
	}
	down("it is asked with another key")
	s.logged("403")
}
