package integration

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Signatures by RSA and Ed25519 hold for independent verifiers, for what real clients send in every
// shape; a key that is replaced signs from then on.
func TestDKIM(t *testing.T) {
	t.Parallel()
	program := need(t, "swaks")
	s := newServer(t)
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	s.write("ed.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	records := map[string]string{
		"rsa._domainkey.example.org": dkimKey(t, filepath.Join(s.dir, "rsa.pem")),
		"ed._domainkey.example.org":  "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(public),
	}
	s.write("Caddyfile", s.caddyfile(layout{msa: `
	policy headers {
		add_missing Date Message-ID
		prepend     X-Gateway north
	}
	policy dkim {
		key    example.org rsa $DIR/rsa.pem
		key    example.org ed  $DIR/ed.pem
		expire 7d
	}`}))
	s.writeUsers("")
	s.run()
	trust := s.tlsConfig()
	delivered := 0
	next := func() []byte {
		delivered++
		all := s.mail("bob@example.net", delivered)
		return all[len(all)-1]
	}
	for _, message := range []string{
		folded,
		"From: alice@example.org\r\nSubject: =?utf-8?q?=C3=A9?=\r\n\r\n",
		"From: alice@example.org\r\nSubject: eight bits \xc3\xa9\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n\xc3\xa9\xff\r\n \r\n\r\n",
		"From: alice@example.org\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64Lines(strings.Repeat("\x00\xff", 100_000)),
	} {
		if reply := s.endOfData(trust, message); !strings.HasPrefix(reply, "250 ") {
			t.Fatal(reply)
		}
		if got := next(); dkimpyVerifies(t, got, records) != "2" || !strings.HasSuffix(string(got), message) {
			t.Errorf("delivered:\n%.2000s", got)
		}
	}

	// The key is replaced under the running server, and the record with it.
	fresh := dkimKey(t, filepath.Join(s.dir, "fresh.pem"))
	if err := os.Rename(filepath.Join(s.dir, "fresh.pem"), filepath.Join(s.dir, "rsa.pem")); err != nil {
		t.Fatal(err)
	}
	records["rsa._domainkey.example.org"] = fresh
	s.await("the new record in the log", func() bool { return strings.Contains(s.log.String(), strings.TrimPrefix(fresh, "v=DKIM1; k=rsa; ")) })
	out, err := trySwaks(t, program, attempt{implicit: true, address: s.implicit, name: hostname, ca: s.root(), mechanism: "PLAIN",
		user: "alice@example.org", password: "secret", from: "alice@example.org", to: "bob@example.net", message: letter("rotated")})
	if err != nil {
		t.Fatal(err, out)
	}
	got := next()
	if n := dkimpyVerifies(t, got, records); n != "2" {
		t.Error(n, "signatures")
	}
	openDKIMVerifies(t, got, map[string]string{"rsa._domainkey.example.org": fresh, "ed._domainkey.example.org": records["ed._domainkey.example.org"]})
}
