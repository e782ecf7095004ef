package integration

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// certificate files are read again when they are replaced, without a reload; a
// session from before goes on. What cannot be used is an error in the log, and no more.
func TestCertificateFiles(t *testing.T) {
	t.Parallel()
	s, trust := withFiles(t)
	cert, key := filepath.Join(s.dir, "cert.pem"), filepath.Join(s.dir, "key.pem")
	before, err := s.alice(trust)
	if err != nil {
		t.Fatal(err)
	}
	defer before.close()

	// replace puts another certificate in place, key last, and waits until it is shown.
	replace := func() {
		t.Helper()
		selfSigned(t, hostname, cert+".new", key+".new")
		b, err := os.ReadFile(cert + ".new")
		if err != nil {
			t.Fatal(err)
		}
		trust.RootCAs.AppendCertsFromPEM(b)
		shown := s.serial(trust)
		for _, file := range []string{cert, key} {
			s.serial(trust) // at any time a handshake is possible
			if err := os.Rename(file+".new", file); err != nil {
				t.Fatal(err)
			}
		}
		s.await("the new certificate", func() bool { return s.serial(trust) != shown })
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.serial(trust); got != pair.Leaf.SerialNumber.String() {
			t.Errorf("the certificate %s is shown, and the file has %s", got, pair.Leaf.SerialNumber)
		}
	}
	replace()

	good := s.serial(trust)
	for i, broken := range []string{"cert.pem", "key.pem"} {
		old, err := os.ReadFile(filepath.Join(s.dir, broken))
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
			// Each is a change of its own, whose error names what is wrong.
			logged := strings.Count(s.log.String(), "the old certificate stays")
			s.write("broken", text)
			if err := os.Rename(filepath.Join(s.dir, "broken"), filepath.Join(s.dir, broken)); err != nil {
				t.Fatal(err)
			}
			s.await("an error in the log", func() bool { return strings.Count(s.log.String(), "the old certificate stays") > logged })
			if got := s.serial(trust); got != good {
				t.Errorf("%s broken: the certificate %s is shown in place of %s", broken, got, good)
			}
		}
		line := s.logged(`"level":"error"`, "the old certificate stays", cert)
		if strings.Contains(line, "PRIVATE KEY") {
			t.Errorf("the log says: %s", line)
		}
		again := strings.Count(s.log.String(), "certificate files were read again")
		s.write(broken, string(old))
		s.await("the mended file", func() bool { return strings.Count(s.log.String(), "certificate files were read again") > again })
		if got := s.serial(trust); got != good {
			t.Errorf("%d: mended, the certificate %s is shown in place of %s", i, got, good)
		}
	}
	replace()

	if _, err := before.submit("alice@example.org", "bob@example.net", letter("still here")); err != nil {
		t.Error("a session from before:", err)
	}
	s.mail("bob@example.net", 1)
}

// serial is that of the certificate a new client sees. It trusts it.
func (s *server) serial(trust *tls.Config) string {
	s.t.Helper()
	c, err := s.dial("STARTTLS", trust)
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.close()
	return serial(c.nc.(*tls.Conn)).String()
}
