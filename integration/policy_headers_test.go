package integration

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/mail"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"
)

// RFC 6409 section 8, R-12: what a real client leaves out is put above what it submitted, of which no
// octet is changed.
func TestHeaders(t *testing.T) {
	t.Parallel()
	program := need(t, "swaks")
	s := start(t, layout{msa: `
	policy headers {
		add_missing Date Message-ID
		prepend     X-Gateway "north; user={msa.user}"
		prepend     X-Submission {msa.queue_id}
		refuse_bcc
	}`})
	send := func(message string) (string, error) {
		return trySwaks(t, program, attempt{implicit: true, address: s.implicit, name: hostname, ca: s.root(), mechanism: "PLAIN",
			user: "alice@example.org", password: "secret", from: "alice@example.org", to: "bob@example.net", message: message})
	}
	message := "From: alice@example.org\r\nSubject: a scan\r\nX-Gateway: forged\r\n\r\nHello.\r\n"
	began := time.Now().Truncate(time.Second)
	if out, err := send(message); err != nil {
		t.Fatal(err, out)
	}
	got := s.mail("bob@example.net", 1)[0]
	below := untraced(t, got)
	added, found := bytes.CutSuffix(below, []byte(message))
	want := regexp.MustCompile(`^X-Gateway: north; user=alice@example\.org\r\nX-Submission: [0-9A-Z]+\r\nDate: [^\r\n]+\r\nMessage-ID: <[0-9A-Z]{26}@msa\.example\.test>\r\n$`)
	if !found || !want.Match(added) {
		t.Errorf("delivered:\n%s", got)
	}
	m, err := mail.ReadMessage(bytes.NewReader(got))
	if err != nil {
		t.Fatal(err)
	}
	if date, err := m.Header.Date(); err != nil || date.Before(began) || date.After(time.Now()) {
		t.Errorf("date %v, %v", date, err)
	}
	s.logged("message accepted", m.Header.Get("X-Submission"))
	if out, err := send(strings.Replace(message, "\r\n\r\n", "\r\nBcc: carol@example.net\r\n\r\n", 1)); err == nil || !strings.Contains(out, "554 5.6.0 Bcc header field would be seen by everybody: leave it out (headers: refuse_bcc)") {
		t.Error(out)
	}
}

// Fields that were put before a message are there for policies behind, and are signed with it.
func TestHeadersBeforeOthers(t *testing.T) {
	t.Parallel()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t)
	s.write("key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	s.write("Caddyfile", s.caddyfile(layout{msa: `
	policy headers {
		add_missing Date Message-ID
	}
	policy headers {
		require Date Message-ID
	}
	policy dkim {
		key example.org s $DIR/key.pem
	}`}))
	s.writeUsers("")
	s.run()
	s.mustSend(s.tlsConfig(), "alice@example.org", "alice@example.org", "bob@example.net", letter("bare"))
	record := func(name string) ([]string, error) {
		return []string{"v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(public)}, nil
	}
	signed, err := dkim.VerifyWithOptions(bytes.NewReader(s.mail("bob@example.net", 1)[0]), &dkim.VerifyOptions{LookupTXT: record})
	if err != nil || len(signed) != 1 || signed[0].Err != nil {
		t.Fatalf("%+v, %v", signed, err)
	}
	for _, name := range []string{"date", "message-id"} {
		if !slices.ContainsFunc(signed[0].HeaderKeys, func(key string) bool { return strings.EqualFold(key, name) }) {
			t.Errorf("%s is not signed, but %q", name, signed[0].HeaderKeys)
		}
	}
}
