package integration

import (
	"crypto/tls"
	"fmt"
	"math/big"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// the certificate comes from a real ACME server and is renewed when it is time,
// without a reload; a session from before goes on.
func TestACME(t *testing.T) {
	t.Parallel()
	const minutes, short = "minutes", "short"
	ca := startPebble(t, map[string]time.Duration{minutes: 5 * time.Minute, short: 2 * time.Minute})
	for _, tt := range []struct {
		name, hostname, profile, challenge string
		global                             bool // Caddy's own options name the CA
		edit                               func(path string, answer map[string]any)
	}{
		{"the CA says when, HTTP-01", hostname, minutes, "disable_tlsalpn_challenge\nalt_http_port " + ca.httpPort, false, func(path string, answer map[string]any) {
			if strings.Contains(path, "/renewalInfo/") { // RFC 9773
				soon := time.Now().Add(2 * time.Second)
				answer["suggestedWindow"] = map[string]time.Time{"start": soon, "end": soon.Add(3 * time.Second)}
			}
		}},
		{"at two thirds of its life, TLS-ALPN-01", "msa.example.org", short, "disable_http_challenge\nalt_tlsalpn_port " + ca.tlsPort, true, func(_ string, answer map[string]any) {
			delete(answer, "renewalInfo") // of the directory: a CA without RFC 9773
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(t)
			// Beside this test's many connections, whose ports are the system's choice.
			s.starttls, s.implicit, s.admin = freeAddress(t), freeAddress(t), freeAddress(t)
			root := filepath.Join(s.dir, "acme.pem")
			directory := ca.front(t, root, tt.edit)
			issuer := fmt.Sprintf("acme %s {\ntrusted_roots %s\nprofile %s\n%s\n}", directory, root, tt.profile, tt.challenge)
			l := layout{global: "renew_interval 500ms", tls: "tls {\nissuer " + issuer + "\n}"}
			if tt.global {
				l.global, l.tls = l.global+"\ncert_issuer "+issuer, "# as Caddy does"
			}
			s.write("Caddyfile", strings.ReplaceAll(s.caddyfile(l), hostname, tt.hostname))
			s.writeUsers("")
			s.run()
			trust := &tls.Config{RootCAs: ca.roots, ServerName: tt.hostname}

			before, err := s.alice(trust)
			if err != nil {
				t.Fatal(err)
			}
			defer before.close()
			first := serial(before.nc.(*tls.Conn))
			awaitFor(t, 4*time.Minute, "a second certificate", func() bool {
				time.Sleep(100 * time.Millisecond) // handshakes cost
				conn, err := tls.Dial("tcp", s.implicit, trust)
				if err != nil { // an expired one, for instance
					t.Fatal(err)
				}
				defer conn.Close()
				return serial(conn).Cmp(first) != 0
			})
			after, err := s.alice(trust)
			if err != nil {
				t.Fatal(err)
			}
			defer after.close()
			if serial(after.nc.(*tls.Conn)).Cmp(first) == 0 {
				t.Error("the old certificate came back")
			}
			for i, c := range []*talker{before, after} {
				if _, err := c.submit("alice@example.org", "bob@example.net", letter("renewed")); err != nil {
					t.Errorf("session %d: %v", i+1, err)
				}
			}
			s.mail("bob@example.net", 2)
			select {
			case <-s.exited:
				t.Error("the process has ended")
			default: // and is the one that run started
			}
		})
	}
}

func serial(conn *tls.Conn) *big.Int { return conn.ConnectionState().PeerCertificates[0].SerialNumber }
