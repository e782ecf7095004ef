package httpautoconfig

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/smallstep/pkcs7"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"howett.net/plist"
)

const profileURL = "https://autoconfig.example.org/email.mobileconfig?email="

func readProfile(t *testing.T, text string) profile {
	t.Helper()
	var p profile
	if err := plist.NewDecoder(bytes.NewReader([]byte(text))).Decode(&p); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return p
}

// A profile is the user's own, and has the same identifiers whenever it is fetched.
func TestMobileconfig(t *testing.T) {
	h := site(t, msa, nil)
	status, text := get(h, profileURL+"Alice@example.org")
	if status != 200 {
		t.Fatal(status, text)
	}
	p := readProfile(t, text)
	m := p.Content[0]
	if m.Type != "com.apple.mail.managed" || m.AccountType != "EmailTypeIMAP" || m.Address != "Alice@example.org" || m.InUsername != "Alice@example.org" ||
		m.InHost != "imap.example.org" || m.InPort != 993 || !m.InTLS || m.OutHost != "msa.example.org" || m.OutPort != 465 || !m.OutTLS || p.DisplayName != "Example & Sons" ||
		!strings.HasPrefix(p.Identifier, "org.example.msa.") {
		t.Errorf("%+v", p)
	}
	if m.UUID == p.UUID || m.Identifier == p.Identifier || len(p.UUID) != 36 {
		t.Errorf("%+v", p)
	}
	_, again := get(site(t, msa, nil), profileURL+"alice@EXAMPLE.org")
	if q := readProfile(t, again); q.UUID != p.UUID || q.Identifier != p.Identifier || q.Content[0].UUID != m.UUID {
		t.Errorf("%+v, then %+v", p, q)
	}
	_, bob := get(h, profileURL+"bob@example.org")
	if q := readProfile(t, bob); q.UUID == p.UUID || q.Identifier == p.Identifier {
		t.Errorf("%+v and %+v", p, q)
	}
	_, hostile := get(h, profileURL+"%22%3C/string%3E%26%22@example.org")
	if q := readProfile(t, hostile); q.Content[0].Address != `"</string>&"@example.org` {
		t.Errorf("%+v", q)
	}
	for _, tagged := range []string{"alice+printer@example.org", "alice%2Bprinter@example.org"} {
		if _, text := get(h, profileURL+tagged); readProfile(t, text).Content[0].Address != "alice+printer@example.org" {
			t.Errorf("%s: %s", tagged, text)
		}
	}
	pop := site(t, msa, func(h *Handler) { h.IMAP = nil })
	_, text = get(pop, profileURL+"alice@example.org")
	if m := readProfile(t, text).Content[0]; m.AccountType != "EmailTypePOP" || m.InPort != 110 {
		t.Errorf("%+v", m)
	}
	if status, _ := get(site(t, msa, func(h *Handler) { h.IMAP, h.POP3 = nil, nil }), profileURL+"alice@example.org"); status != 404 {
		t.Error("nowhere to read mail:", status)
	}
}

// The certificate that signs is one that is valid, and of those the newest.
func TestSigned(t *testing.T) {
	now := time.Now()
	expired, good, better := certificate(t, now.Add(-time.Hour)), certificate(t, now.Add(time.Hour)), certificate(t, now.Add(2*time.Hour))
	var asked []string
	h := site(t, msa, func(h *Handler) {
		h.certificates = func(host string) []certmagic.Certificate {
			asked = append(asked, host)
			return []certmagic.Certificate{expired, good, better}
		}
	})
	_, body := get(h, "https://AutoConfig.example.org:8443/email.mobileconfig?email=alice@example.org")
	p7, err := pkcs7.Parse([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	if err := p7.Verify(); err != nil {
		t.Error(err)
	}
	if signer := p7.GetOnlySigner(); signer == nil || !signer.Equal(better.Leaf) {
		t.Errorf("%+v", signer)
	}
	if p := readProfile(t, string(p7.Content)); p.Content[0].Address != "alice@example.org" {
		t.Errorf("%+v", p)
	}
	if len(asked) == 0 || asked[0] != "autoconfig.example.org" {
		t.Error(asked)
	}
}

// Where there is no certificate the profile is not signed. The operator is told once, however often strangers ask.
func TestUnsigned(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	h := site(t, msa, func(h *Handler) { h.log = zap.New(core) })
	for range 3 {
		if status, text := get(h, profileURL+"alice@example.org"); status != 200 || !strings.HasPrefix(text, "<?xml") {
			t.Error(status, text)
		}
	}
	if all := logs.All(); len(all) != 1 || !strings.Contains(all[0].Message, "not signed") {
		t.Errorf("%+v", all)
	}
}
