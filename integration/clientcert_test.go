package integration

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// clients with a certificate of Caddy's CA log in with EXTERNAL, by openssl, curl and our
// own command, on both ports; those without use their password.
func TestExternal(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.write("Caddyfile", s.caddyfile(layout{
		tls:  "tls {\n\t\tissuer internal\n\t\tclient_auth {\n\t\t\tmode verify_if_given\n\t\t\ttrust_pool pki_root {\n\t\t\t\tauthority local\n\t\t\t}\n\t\t}\n\t}",
		auth: "auth {\n\t\tclient_cert {\n\t\t\tmap $DIR/clients\n\t\t}\n\t\tfile $DIR/users.passwd\n\t}",
	}))
	s.writeUsers("")
	s.write("clients", "email:alice@example.org alice@example.org\n")
	s.run()
	s.issueClient("alice", "alice@example.org")
	s.issueClient("mallory", "mallory@example.org")
	cert, key := filepath.Join(s.dir, "alice.crt"), filepath.Join(s.dir, "alice.key")

	t.Run("caddy msa send", func(t *testing.T) {
		for _, port := range [][]string{{"--server", s.starttls}, {"--server", s.implicit, "--tls", "implicit"}} {
			args := append([]string{"msa", "send", "--server-name", hostname, "--ca", s.root(), "--cert", cert, "--key", key,
				"--from", "alice@example.org", "--to", "caddy@example.net"}, port...)
			if out, err := exec.Command(binary, args...).CombinedOutput(); err != nil || !strings.Contains(string(out), "C: AUTH EXTERNAL") {
				t.Errorf("%v\n%s", err, out)
			}
		}
		s.mail("caddy@example.net", 2)
	})
	t.Run("openssl", func(t *testing.T) {
		openssl := need(t, "openssl")
		dialogue := func(name, port string, more ...string) string {
			args := append([]string{"s_client", "-quiet", "-crlf", "-connect", port, "-servername", hostname, "-CAfile", s.root(), "-verify_return_error",
				"-cert", filepath.Join(s.dir, name+".crt"), "-key", filepath.Join(s.dir, name+".key"), "-cert_chain", filepath.Join(s.dir, name+".crt")}, more...)
			cmd := exec.Command(openssl, args...)
			cmd.Stdin = strings.NewReader("EHLO client.example\nAUTH EXTERNAL =\nMAIL FROM:<alice@example.org>\nRCPT TO:<openssl@example.net>\nDATA\n" +
				"From: alice@example.org\n\ntext\n.\nQUIT\n")
			out, _ := cmd.CombinedOutput()
			return string(out)
		}
		for _, out := range []string{dialogue("alice", s.implicit), dialogue("alice", s.starttls, "-starttls", "smtp")} {
			if !strings.Contains(out, "AUTH EXTERNAL") || !strings.Contains(out, "235 2.7.0") || !strings.Contains(out, "queued as") {
				t.Error(out)
			}
		}
		s.mail("openssl@example.net", 2)
		if out := dialogue("mallory", s.implicit); !strings.Contains(out, "535 5.7.8") || strings.Contains(out, "queued as") {
			t.Errorf("a certificate that is not in the map:\n%s", out)
		}
	})
	t.Run("curl", func(t *testing.T) {
		curl := need(t, "curl")
		s.write("message", "From: alice@example.org\r\n\r\ntext\r\n")
		_, port, _ := strings.Cut(s.implicit, ":")
		cmd := exec.Command(curl, "--silent", "--show-error", "--url", "smtps://"+hostname+":"+port+"/client.example", "--resolve", hostname+":"+port+":127.0.0.1",
			"--cacert", s.root(), "--cert", cert, "--key", key, "--user", "alice@example.org:", "--login-options", "AUTH=EXTERNAL",
			"--mail-from", "alice@example.org", "--mail-rcpt", "curl@example.net", "--upload-file", filepath.Join(s.dir, "message"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		s.mail("curl@example.net", 1)
	})
	t.Run("no certificate", func(t *testing.T) {
		c, err := connect("tcp", s.implicit, s.tlsConfig())
		if err != nil {
			t.Fatal(err)
		}
		defer c.close()
		if err := c.send("EHLO client.example\r\n"); err != nil {
			t.Fatal(err)
		}
		if reply, err := c.reply(); err != nil || strings.Contains(reply, "EXTERNAL") {
			t.Errorf("offered without a certificate: %s, %v", reply, err)
		}
		if err := all(func() error { return c.do("504 5.5.4", "AUTH EXTERNAL =") }, func() error { return c.login("alice@example.org", "secret") }); err != nil {
			t.Error(err)
		}
	})
	// Last, since it takes alice out.
	t.Run("taken out of the map", func(t *testing.T) {
		config := s.tlsConfig()
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		config.Certificates = []tls.Certificate{pair}
		c, err := connect("tcp", s.implicit, config)
		if err != nil {
			t.Fatal(err)
		}
		defer c.close()
		authzid := base64.StdEncoding.EncodeToString([]byte("alice@example.org"))
		if err := all(func() error { return c.do("250", "EHLO client.example") }, func() error { return c.do("235", "AUTH EXTERNAL "+authzid) }); err != nil {
			t.Fatal(err)
		}
		s.write("clients", "# nobody\n")
		s.await("the end of the session", func() bool {
			err = all(func() error { return c.do("250", "MAIL FROM:<alice@example.org>") }, func() error { return c.do("250", "RSET") })
			return err != nil
		})
		if !strings.Contains(err.Error(), "421 4.7.0") {
			t.Error(err)
		}
	})
}

// issueClient signs a certificate for clients with Caddy's own CA.
func (s *server) issueClient(name, email string) {
	s.t.Helper()
	ca := filepath.Join(s.dir, "caddy/pki/authorities/local")
	read := func(file string) []byte {
		b, err := os.ReadFile(filepath.Join(ca, file))
		if err != nil {
			s.t.Fatal(err)
		}
		return b
	}
	block := func(b []byte) []byte {
		p, _ := pem.Decode(b)
		return p.Bytes
	}
	intermediate := read("intermediate.crt")
	issuer, err := x509.ParseCertificate(block(intermediate))
	if err != nil {
		s.t.Fatal(err)
	}
	issuerKey, err := x509.ParseECPrivateKey(block(read("intermediate.key")))
	if err != nil {
		s.t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, EmailAddresses: []string{email},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), crypto.Signer(issuerKey))
	if err != nil {
		s.t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		s.t.Fatal(err)
	}
	s.write(name+".crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))+string(intermediate))
	s.write(name+".key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})))
}
