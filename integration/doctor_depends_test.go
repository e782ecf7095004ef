package integration

import (
	"crypto/tls"
	"database/sql"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/dnscheck/dnstest"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

// Faults that come after a server has started well: of address maps and of those who are told, of files that were changed on
// disk, of the name and of exchangers. Each is named with a remedy, and all is well before.
func TestDoctorDepends(t *testing.T) {
	t.Parallel()
	var refuses atomic.Bool
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if refuses.Load() {
			http.Error(w, "no such page", http.StatusNotFound)
		}
	}))
	t.Cleanup(hook.Close)
	s := newServer(t)
	signed(t, hostname, time.Now().Add(12*time.Hour), filepath.Join(s.dir, "cert.pem"), filepath.Join(s.dir, "key.pem"))
	s.write("addresses.map", "logical@example.org actual@example.org\n")
	s.program("program", "#!/bin/sh\ncat >/dev/null\n")
	db, err := sql.Open("sqlite", filepath.Join(s.dir, "addresses.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("CREATE TABLE msa_addresses (logical VARCHAR(320) PRIMARY KEY, actual VARCHAR(320) NOT NULL)"); err != nil {
		t.Fatal(err)
	}
	s.write("Caddyfile", s.caddyfile(layout{tls: "tls $DIR/cert.pem $DIR/key.pem", msa: `
	@a recipient_domain a.example
	deliver @a maildir $DIR/a/{msa.recipient} {
		name by-file
		address_map file $DIR/addresses.map
	}
	@b recipient_domain b.example
	deliver @b maildir $DIR/b/{msa.recipient} {
		name by-table
		address_map sql sqlite $DIR/addresses.db
	}
	@c recipient_domain c.example
	deliver @c relay {
		mx
		name direct
		resolver $DNS
	}
	deliver maildir $DIR/mail/{msa.recipient.domain}/{msa.recipient.local}
	notify webhook ` + hook.URL + ` {
		name hook
		on accepted
		secret ` + hookSecret + `
	}
	notify pipe $DIR/program {
		name program
	}
	notify nats nats://` + freeAddress(t) + ` {
		name broker
		subject mail.status
	}`}))
	records := []string{hostname + ". A 127.0.0.1", hostname + ". AAAA 2001:db8::1", "example.org. MX 10 mx.example.org.", "mx.example.org. A 127.0.0.9"}
	dns := dnstest.Serve(t, records...)
	s.write("Caddyfile", strings.Replace(read(t, filepath.Join(s.dir, "Caddyfile")), "$DNS", dns, 1))
	s.writeUsers("")
	s.run()
	args := []string{"--address", s.admin, "--ca", filepath.Join(s.dir, "cert.pem"), "--resolver", dns, "--domain", "example.org", "--egress", "192.0.2.1"}
	found := examined(t, args...)
	allNamed(t, found, []planted{
		{"nothing", "address maps", doctor.OK, "route by-file: it has 1 addresses"},
		{"nothing", "address maps", doctor.OK, "route by-table: the database answers"},
		{"nothing", "notifiers", doctor.OK, "notifier hook: the web service"},
		{"nothing", "notifiers", doctor.OK, "notifier program: the program"},
		{"broker down", "notifiers", doctor.Wrong, "notifier broker: events wait"},
		{"IPv6 leads nowhere", "dns", doctor.Warn, fmt.Sprintf("[2001:db8::1]:%s, which the name leads to, cannot be reached", port(s.starttls))},
		{"exchanger cannot be reached", "routes", doctor.Wrong, "exchanger of example.org: messages wait: "},
		{"no name of the address that mail leaves from", "ptr", doctor.Warn, "192.0.2.1: many servers refuse mail from it"},
	})
	if slices.ContainsFunc(found, func(f doctor.Finding) bool { return f.Check == "files" && f.Level != doctor.OK }) {
		t.Errorf("files:\n%s", table(found))
	}

	// Now the faults.
	if err := os.Remove(filepath.Join(s.dir, "program")); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("DROP TABLE msa_addresses"); err != nil {
		t.Fatal(err)
	}
	s.write("addresses.map", "logical@example.org\n")
	signed(t, hostname, time.Now().Add(12*time.Hour), filepath.Join(s.dir, "other.pem"), filepath.Join(s.dir, "key.pem"))
	refuses.Store(true)
	s.mustSend(&tls.Config{RootCAs: poolOf(t, filepath.Join(s.dir, "cert.pem")), ServerName: hostname}, "alice@example.org", "alice@example.org", "bob@example.net", "From: alice@example.org\r\nSubject: x\r\n\r\nHello\r\n")
	other, err := net.Listen("tcp", "127.0.0.8:"+port(s.starttls))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	go func() {
		for {
			conn, err := other.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("220 old.example.test ESMTP\r\n"))
			_ = conn.Close()
		}
	}()
	args[5] = dnstest.Serve(t, hostname+". A 127.0.0.8")
	s.await("the webhook's refusal", func() bool {
		found = examined(t, args...)
		return slices.ContainsFunc(found, func(f doctor.Finding) bool {
			return f.Check == "notifiers" && f.Level == doctor.Warn && strings.Contains(f.Text, "status 404")
		})
	})
	allNamed(t, found, []planted{
		{"map's file is broken", "address maps", doctor.Wrong, "route by-file: the file cannot be used: "},
		{"map's table is gone", "address maps", doctor.Wrong, "route by-table: messages wait: the query actual fails"},
		{"program is gone", "notifiers", doctor.Wrong, "notifier program: events wait"},
		{"webhook answers 404", "notifiers", doctor.Warn, "status 404"},
		{"another key on disk", "files", doctor.Wrong, "private key does not match"},
		{"the name leads to another server", "dns", doctor.Wrong, "old.example.test"},
	})
}
