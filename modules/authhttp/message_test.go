package authhttp

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
	"github.com/caddy-msa/caddy-msa/caddymsa/webcall"
)

// The signature in the documentation is one.
func TestSign(t *testing.T) {
	page, err := os.ReadFile("../../docs/auth-http.md")
	if err != nil {
		t.Fatal(err)
	}
	body, err := newQuestion(actionLookup, caddymsa.Peer{}, "alice@example.org").encode()
	if err != nil {
		t.Fatal(err)
	}
	const key = "0123456789abcdef0123456789abcdef"
	for _, want := range []string{key, string(body), webcall.SignatureHeader + ": " + sign(key, time.Unix(1763915045, 0), body)} {
		if !strings.Contains(string(page), want) {
			t.Error("not in the documentation:", want)
		}
	}
}

// What the operator got wrong fails the load, and says how to get it right, without secrets.
func TestSettings(t *testing.T) {
	for want, h := range map[string]HTTP{
		"url: an http or https URL":                     {},
		"an http or https URL is required":              {Config: webcall.Config{URL: "ftp://auth.example.org"}},
		"say insecure_plaintext":                        {Config: webcall.Config{URL: "http://auth.example.org/"}},
		"prove who asks with bearer":                    {Config: webcall.Config{URL: "https://user:hidden-secret@auth.example.org"}},
		"such as https://":                              {Config: webcall.Config{URL: "https://auth.example.org:hidden-secret/"}},
		"cache needs the action lookup":                 {Config: webcall.Config{URL: "https://auth.example.org"}, Cache: 1, NoLookup: true},
		"decoy is for credentials on":                   {Config: webcall.Config{URL: "https://auth.example.org"}, Decoy: []string{"PLAIN"}},
		"cannot be negative":                            {Config: webcall.Config{URL: "https://auth.example.org"}, Timeout: -1},
		"client_certificate and client_key go together": {Config: webcall.Config{URL: "https://auth.example.org", TLSClient: conf.TLSClient{ClientKey: "x"}}},
		"client_certificate: ":                          {Config: webcall.Config{URL: "https://auth.example.org", TLSClient: conf.TLSClient{ClientKey: "/nosuch", ClientCertificate: "/nosuch"}}},
		"ca: ":                                          {Config: webcall.Config{URL: "https://auth.example.org", TLSClient: conf.TLSClient{CA: []string{"/nosuch"}}}},
		"holds no certificate":                          {Config: webcall.Config{URL: "https://auth.example.org", TLSClient: conf.TLSClient{CA: []string{"message_test.go"}}}},
		"settings are for https":                        {Config: webcall.Config{URL: "http://127.0.0.1", TLSClient: conf.TLSClient{ServerName: "x"}}},
		"bearer: is not a token":                        {Config: webcall.Config{URL: "https://auth.example.org", Bearer: "hidden-secret x"}},
		"hmac_key: is shorter than":                     {Config: webcall.Config{URL: "https://auth.example.org", HMACKey: "hidden-secret"}},
		"bearer: ":                                      {Config: webcall.Config{URL: "https://auth.example.org", Bearer: "{env.MSA_TEST_UNSET}"}},
		"hmac_key: ":                                    {Config: webcall.Config{URL: "https://auth.example.org", HMACKey: "{file./nosuch}"}},
	} {
		o, err := h.resolve(zap.NewNop())
		if err == nil {
			_, err = newService(o, &h.Config)
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hidden-secret") {
			t.Errorf("%v, want %s", err, want)
		}
	}
	t.Setenv("MSA_TEST_TOKEN", "from-the-environment\n")
	h := HTTP{Config: webcall.Config{URL: "http://[::1]:80/msa", Bearer: "{env.MSA_TEST_TOKEN}"}}
	o, err := h.resolve(zap.NewNop())
	if err != nil || o.bearer != "from-the-environment" || o.timeout != DefaultTimeout || o.concurrent != DefaultConcurrency {
		t.Errorf("%+v, %v", o, err)
	}
	if s, err := newService(o, &h.Config); err != nil || s.client.Exposed() {
		t.Error(err)
	}
	h = HTTP{Config: webcall.Config{URL: "http://auth.example.org", InsecurePlaintext: true}}
	if s, err := newService(o, &h.Config); err != nil || !s.client.Exposed() {
		t.Error(err)
	}
	if _, err := newService(options{decoy: "ROT13"}, &h.Config); err == nil {
		t.Error("a decoy of a scheme that is not known")
	}
}

// Who reaches the service in another way has another service, and who reaches it in the same way the same.
func TestOptions(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ca.pem")
	pki := httptest.NewTLSServer(nil)
	defer pki.Close()
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pki.Certificate().Raw})
	write := func(comment string) {
		t.Helper()
		if err := os.WriteFile(file, append([]byte(comment+"\n"), certificate...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("one")
	resolve := func(change func(*HTTP)) options {
		t.Helper()
		h := HTTP{Config: webcall.Config{URL: "https://auth.example.org", Headers: map[string]string{"A": "1", "B": "{env.MSA_TEST_HEADER}"}, TLSClient: conf.TLSClient{CA: []string{file}}}}
		change(&h)
		o, err := h.resolve(zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	first := resolve(func(*HTTP) {})
	if resolve(func(*HTTP) {}) != first {
		t.Error("the same settings make two services")
	}
	for name, change := range map[string]func(*HTTP){
		"url": func(h *HTTP) { h.URL += "/" }, "socket": func(h *HTTP) { h.Socket = "/s" }, "bearer": func(h *HTTP) { h.Bearer = "x" },
		"hmac_key": func(h *HTTP) { h.HMACKey = "0123456789abcdef" }, "plaintext": func(h *HTTP) { h.InsecurePlaintext = true },
		"server name": func(h *HTTP) { h.ServerName = "x" }, "certificate": func(h *HTTP) { h.ClientCertificate = "x" }, "key": func(h *HTTP) { h.ClientKey = "x" },
		"header": func(h *HTTP) { h.Headers["A"] = "2" }, "timeout": func(h *HTTP) { h.Timeout = 1 }, "concurrency": func(h *HTTP) { h.Concurrency = 1 },
		"environment": func(*HTTP) { t.Setenv("MSA_TEST_HEADER", "x") }, "CA": func(*HTTP) { write("two") },
	} {
		if resolve(change) == first {
			t.Errorf("%s: the old service is used", name)
		}
	}
}

// What a service repeats of a password is not in the log, and a short one does not garble the rest of the line.
func TestHide(t *testing.T) {
	for password, texts := range map[string][2]string{
		"s3cret": {`reason "s3cret s3cret,s3cret" was wrong`, `reason "REDACTED REDACTED,REDACTED" was wrong`},
		"a":      {`cannot: a "a" at (a)`, `cannot: REDACTED "REDACTED" at (REDACTED)`},
		`q"ü`:    {`reason "q\"ü", Zq"üx, q"ü`, `reason "REDACTED", Zq"üx, REDACTED`},
		"!!":     {"x!!y", "xREDACTEDy"},
		"":       {"no password", "no password"},
	} {
		s := &service{options: options{bearer: "on"}}
		q := &question{Password: &password}
		if got := s.hide(errors.New("on "+texts[0]), q).Error(); got != "on "+texts[1] {
			t.Errorf("%q: %s, want %s", password, got, texts[1])
		}
	}
	if s := new(service); len(s.hide(errors.New(strings.Repeat("x", 5000)), new(question)).Error()) > maxError+3 {
		t.Error("an error has no bound")
	}
}

// FuzzAnswer: whatever the service says, a yes has a name, and a name that a user can have.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		`{"ok":true}`, `{"ok":false,"reason":"closed"}`, `{"ok":true,"user":"alice@example.org","addresses":["a@example.net","@b.example"],"attributes":{"a":1,"b":"x","c":null,"d":[1]},"fingerprint":"1"}`,
		`{"ok":true,"password":"{PLAIN}secret","digest_ha1":{"r":"0123456789abcdef0123456789abcdef"},"scram":"4096,c2FsdA==,AAAA,AAAA","allow_nets":["192.0.2.0/24","local"],"disabled":true}`,
		`null`, `[]`, `{}`, ``, `{"ok":true}x`, `{"OK":true,"ok":false}`, "\xff", `{"ok":true,"user":"\u0000"}`, `{"ok":true,"user":"\ud800"}`, `{"ok":true,"attributes":{"a": {"b" : 1} }}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		id, err := parsePerson(body, "alice@example.org")
		if err == nil && passwd.CheckName(id.User) != nil {
			t.Errorf("%q: %+v", body, id)
		}
		rec, err := parseStored(body, "alice@example.org")
		if (rec == nil) != (err != nil) && err == nil {
			t.Errorf("%q: %v, %v", body, rec, err)
		}
		if err == nil && passwd.CheckName(rec.Name) != nil {
			t.Errorf("%q: %+v", body, rec)
		}
	})
}

// sign is what the documentation says of the signature.
func sign(key string, now time.Time, body []byte) string {
	mac := hmac.New(sha256.New, []byte(key))
	fmt.Fprintf(mac, "%d.%s", now.Unix(), body)
	return fmt.Sprintf("t=%d,v1=%x", now.Unix(), mac.Sum(nil))
}
