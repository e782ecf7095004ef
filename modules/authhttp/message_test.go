package authhttp

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
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
	for _, want := range []string{key, string(body), SignatureHeader + ": " + sign(key, time.Unix(1763915045, 0), body)} {
		if !strings.Contains(string(page), want) {
			t.Error("not in the documentation:", want)
		}
	}
}

// What the operator got wrong fails the load, and says how to get it right, without secrets.
func TestSettings(t *testing.T) {
	for want, h := range map[string]HTTP{
		"url is required":                          {},
		"is no address of a web service":           {URL: "ftp://auth.example.org"},
		"say insecure_plaintext":                   {URL: "http://auth.example.org/"},
		"prove who asks with bearer":               {URL: "https://user:hidden-secret@auth.example.org"},
		"cannot be parsed":                         {URL: "https://auth.example.org:hidden-secret/"},
		"cache needs the action lookup":            {URL: "https://auth.example.org", Cache: 1, NoLookup: true},
		"decoy is for credentials on":              {URL: "https://auth.example.org", Decoy: []string{"PLAIN"}},
		"cannot be negative":                       {URL: "https://auth.example.org", Timeout: -1},
		"client_certificate and client_key belong": {URL: "https://auth.example.org", ClientKey: "x"},
		"client_certificate: ":                     {URL: "https://auth.example.org", ClientKey: "/nosuch", ClientCertificate: "/nosuch"},
		"ca: ":                                     {URL: "https://auth.example.org", CA: []string{"/nosuch"}},
		"holds no certificate":                     {URL: "https://auth.example.org", CA: []string{"message_test.go"}},
		"settings are for https":                   {URL: "http://127.0.0.1", ServerName: "x"},
		"bearer: is no token":                      {URL: "https://auth.example.org", Bearer: "hidden-secret x"},
		"hmac_key: is shorter than":                {URL: "https://auth.example.org", HMACKey: "hidden-secret"},
		"bearer: ":                                 {URL: "https://auth.example.org", Bearer: "{env.MSA_TEST_UNSET}"},
		"hmac_key: ":                               {URL: "https://auth.example.org", HMACKey: "{file./nosuch}"},
	} {
		_, err := h.resolve()
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hidden-secret") {
			t.Errorf("%v, want %s", err, want)
		}
	}
	t.Setenv("MSA_TEST_TOKEN", "from-the-environment\n")
	h := HTTP{URL: "http://[::1]:80/msa", Bearer: "{env.MSA_TEST_TOKEN}"}
	o, err := h.resolve()
	if err != nil || o.bearer != "from-the-environment" || o.timeout != DefaultTimeout || o.concurrent != DefaultConcurrency || o.plaintext {
		t.Errorf("%+v, %v", o, err)
	}
	if o, err := (&HTTP{URL: "http://auth.example.org", InsecurePlaintext: true, Timeout: caddy.Duration(time.Second)}).resolve(); err != nil || !o.plaintext {
		t.Error(err)
	}
	if _, err := newService(options{url: "https://a", decoy: "ROT13"}); err == nil {
		t.Error("a decoy of a scheme that is not known")
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
