package integration

import (
	"path/filepath"
	"strings"
	"testing"
)

// difficult is a message that shows what a client or the server does to octets: lines of dots,
// 8-bit, long lines, blank lines at the end. It has the fields that clients would add.
const difficult = "From: alice@example.org\r\nTo: somebody@example.net\r\nSubject: octets\r\nDate: Mon, 23 Nov 2026 12:00:00 +0000\r\n" +
	"Message-ID: <1@client.example>\r\n\r\n.dot\r\n..\r\n.\r\n...three\r\nFrom me\r\n\t tabs and spaces \t \r\n8-bit: \xe9\xff \xc3\xa9\r\n"

var octets = difficult + strings.Repeat("0123456789", 99) + "\r\n" + strings.Repeat("x", 5000) + "\r\n.\r\n\r\n\r\n"

// mailerServer serves all clients. Nobody is held up for wrong passwords.
func mailerServer(t *testing.T) *server {
	t.Helper()
	return start(t, layout{global: "debug", auth: "auth {\n\t\tmechanisms SCRAM-SHA-256 DIGEST-MD5 PLAIN LOGIN\n\t\tfile $DIR/users.passwd\n\t\tthrottle off\n\t}"})
}

// attempt is alice's, on one of the two ports.
func (s *server) attempt(implicit bool, mechanism, to string) attempt {
	a := attempt{implicit: implicit, address: s.starttls, name: hostname, ca: s.root(), mechanism: mechanism,
		user: "alice@example.org", password: "secret", from: "alice@example.org", to: to, message: octets}
	if implicit {
		a.address = s.implicit
	}
	return a
}

func portName(implicit bool) string {
	if implicit {
		return "implicit"
	}
	return "starttls"
}

// everybody's clients submit on both ports, having checked the certificate, by every
// mechanism they know; what they say they sent is what arrives.
func TestClients(t *testing.T) {
	t.Parallel()
	s := mailerServer(t)
	proven := map[string]int{}
	for _, m := range mailers {
		t.Run(m.name, func(t *testing.T) {
			program := need(t, m.peer)
			for _, implicit := range []bool{false, true} {
				for _, mechanism := range m.mechanisms {
					to := strings.ToLower(m.name+"-"+portName(implicit)+"-"+mechanism) + "@example.net"
					if out, err := m.try(t, program, s.attempt(implicit, mechanism, to)); err != nil {
						t.Errorf("%s: %v\n%s", to, err, out)
						continue
					}
					proven[mechanism]++
					if got := untraced(t, s.mail(to, 1)[0]); string(got) != octets {
						t.Errorf("%s: delivered\n%q\nsubmitted\n%q", to, got, octets)
					}
				}
			}
		})
	}
	for mechanism, n := range proven {
		seen := func() (lines int) {
			for line := range strings.Lines(s.log.String()) {
				if strings.Contains(line, `"msg":"authenticated"`) && strings.Contains(line, `"mechanism":"`+mechanism+`"`) {
					lines++
				}
			}
			return lines
		}
		s.await("the log-ins by "+mechanism, func() bool { return seen() >= n })
		if logged := seen(); logged != n {
			t.Errorf("%s: %d clients meant it, the server saw %d", mechanism, n, logged)
		}
	}
}

// clients report what the server refuses, and refuse a server that is another.
func TestClientsReportFailure(t *testing.T) {
	t.Parallel()
	s := mailerServer(t)
	stranger := filepath.Join(s.dir, "stranger.pem")
	selfSigned(t, hostname, stranger, filepath.Join(s.dir, "stranger.key"))
	for _, m := range mailers {
		t.Run(m.name, func(t *testing.T) {
			program := need(t, m.peer)
			for _, wrong := range []struct {
				what, says string
				change     func(*attempt)
			}{
				{"password", "535", func(a *attempt) { a.password = "wrong" }},
				{"user", "535", func(a *attempt) { a.user = "nobody@example.org" }},
				{"sender", "5.7.1 Sender address", func(a *attempt) { a.from = "bob@example.net" }},
				{"From", "5.7.1 From header field", func(a *attempt) { a.message = strings.Replace(octets, "alice@", "bob@", 1) }},
				{"CA", "", func(a *attempt) { a.ca = stranger }},
				{"name", "", func(a *attempt) { a.name = "other.example.test" }},
			} {
				if wrong.what == "name" && !m.checksName {
					continue
				}
				for _, implicit := range []bool{false, true} {
					a := s.attempt(implicit, m.mechanisms[0], "refused@example.net")
					wrong.change(&a)
					out, err := m.try(t, program, a)
					if err == nil || !strings.Contains(out, wrong.says) {
						t.Errorf("wrong %s, %s: %v\n%s", wrong.what, portName(implicit), err, out)
					}
				}
			}
		})
	}
}
