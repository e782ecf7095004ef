package httpautoconfig

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/running"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// described is an msa server.
type described running.Description

func (d described) Describe() running.Description { return running.Description(d) }

func listener(address string, implicit bool) running.Listener {
	return running.Listener{Address: netip.MustParseAddrPort(address), ImplicitTLS: implicit}
}

// msa is what the server has unless a test says otherwise.
var msa = described{Hostname: "msa.example.org", Mechanisms: []string{sasl.SCRAMSHA256, sasl.DigestMD5, sasl.Plain, sasl.Login},
	Listeners: []running.Listener{listener("[::]:587", false), listener("[::]:465", true)}}

// site is a handler with the server running.
func site(t testing.TB, d described, change func(h *Handler)) *Handler {
	t.Helper()
	h := &Handler{Server: "msa", Domains: []string{"example.org", "*.example.net", "münchen.example"}, DisplayName: "Example & Sons",
		IMAP: []*Service{{Address: "imap.example.org:993"}}, POP3: []*Service{{Address: "pop.example.org:110"}},
		log: zap.NewNop(), certificates: func(string) []certmagic.Certificate { return nil }}
	if change != nil {
		change(h)
	}
	if err := h.provision(); err != nil {
		t.Fatal(err)
	}
	if d.Hostname != "" {
		t.Cleanup(running.Push(nil, map[string]any{"msa": d}))
	}
	return h
}

// ask makes a request and returns its status, with the status of an error as Caddy would answer it.
func ask(h *Handler, r *http.Request) (status int, body string) {
	r = r.WithContext(context.WithValue(r.Context(), caddy.ReplacerCtxKey, caddy.NewReplacer()))
	w := httptest.NewRecorder()
	err := h.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(http.StatusTeapot)
		return nil
	}))
	if e, ok := errors.AsType[caddyhttp.HandlerError](err); ok {
		return e.StatusCode, ""
	}
	if err != nil {
		return 500, err.Error()
	}
	return w.Code, w.Body.String()
}

func get(h *Handler, url string) (int, string) {
	return ask(h, httptest.NewRequest(http.MethodGet, url, nil))
}

// Every format has the ports in its own words, implicit TLS first, and only those that clients reach.
func TestPorts(t *testing.T) {
	for name, c := range map[string]struct {
		listeners []running.Listener
		smtp      []*Service
		want      string
	}{
		"both":            {msa.Listeners, nil, "465 SSL, 587 STARTTLS"},
		"starttls only":   {msa.Listeners[:1], nil, "587 STARTTLS"},
		"two families":    {[]running.Listener{listener("192.0.2.1:587", false), listener("[2001:db8::1]:587", false)}, nil, "587 STARTTLS"},
		"other port":      {[]running.Listener{listener("[::]:2525", true)}, nil, "2525 SSL"},
		"loopback beside": {[]running.Listener{listener("127.0.0.1:10587", false), listener("[::]:465", true)}, nil, "465 SSL"},
		"loopback alone":  {[]running.Listener{listener("127.0.0.1:10587", false)}, nil, "10587 STARTTLS"},
		"published":       {msa.Listeners, []*Service{{Address: "lb.example.org:587"}, {Address: "lb.example.org:2465", TLS: implicitTLS}}, "587 STARTTLS, 2465 SSL"},
		"no TCP":          {nil, nil, ""},
	} {
		d := msa
		d.Listeners = c.listeners
		h := site(t, d, func(h *Handler) { h.SMTP = c.smtp })
		status, body := get(h, "https://autoconfig.example.org/mail/config-v1.1.xml")
		var got []string
		for _, part := range strings.Split(body, "<outgoingServer")[1:] {
			got = append(got, between(part, "<port>", "</port>")+" "+between(part, "<socketType>", "</socketType>"))
		}
		if strings.Join(got, ", ") != c.want || (status == 200) != (c.want != "") {
			t.Errorf("%s: %d %q, want %q", name, status, got, c.want)
		}
	}
}

func between(s, before, after string) string {
	_, s, _ = strings.Cut(s, before)
	s, _, _ = strings.Cut(s, after)
	return s
}

// Mechanisms are announced that a kind of program can use and the server offers; where there is none, nothing is.
func TestMechanisms(t *testing.T) {
	for _, c := range []struct{ offered, thunderbird, outlook, apple string }{
		{"SCRAM-SHA-256 DIGEST-MD5 PLAIN LOGIN", "password-cleartext", "on", "EmailAuthPassword"},
		{"LOGIN", "password-cleartext", "on", "EmailAuthPassword"},
		{"PLAIN XOAUTH2 EXTERNAL", "password-cleartext OAuth2 TLS-client-cert", "on", "EmailAuthPassword"},
		{"OAUTHBEARER XOAUTH2", "OAuth2", "", ""},
		{"DIGEST-MD5", "", "", "EmailAuthHTTPMD5"},
		{"SCRAM-SHA-256 SCRAM-SHA-256-PLUS", "", "", ""},
		{"EXTERNAL", "TLS-client-cert", "", ""},
	} {
		d := msa
		d.Mechanisms = strings.Fields(c.offered)
		h := site(t, d, nil)
		var words []string
		_, body := get(h, "https://autoconfig.example.org/mail/config-v1.1.xml")
		outgoing := between(body, "<outgoingServer", "</outgoingServer>")
		for _, part := range strings.Split(outgoing, "<authentication>")[1:] {
			word, _, _ := strings.Cut(part, "<")
			words = append(words, word)
		}
		if got := strings.Join(words, " "); got != c.thunderbird {
			t.Errorf("%s: Thunderbird is told %q, not %q", c.offered, got, c.thunderbird)
		}
		_, body = post(h, outlookRequest("alice@example.org"))
		if got := between(between(body, "<Type>SMTP", "</Protocol>"), "<AuthRequired>", "<"); got != c.outlook {
			t.Errorf("%s: Outlook is told %q, not %q", c.offered, got, c.outlook)
		}
		_, body = get(h, "https://autoconfig.example.org/email.mobileconfig?email=alice@example.org")
		if got := between(between(body, "OutgoingMailServerAuthentication", "OutgoingMailServerHostName"), "<string>", "<"); got != c.apple {
			t.Errorf("%s: Apple's Mail is told %q, not %q", c.offered, got, c.apple)
		}
	}
}

// Domains that are not listed are unknown, whichever way they are asked for, and of users nothing is said.
func TestDomains(t *testing.T) {
	h := site(t, msa, nil)
	for url, want := range map[string]int{
		"https://autoconfig.example.org/mail/config-v1.1.xml":                                                 200,
		"https://example.org/.well-known/autoconfig/mail/config-v1.1.xml":                                     200,
		"https://example.org:8443/.well-known/autoconfig/mail/config-v1.1.xml":                                200,
		"https://AUTOCONFIG.EXAMPLE.ORG./mail/config-v1.1.xml":                                                200,
		"https://autoconfig.provider.example/mail/config-v1.1.xml?emailaddress=alice@example.org":             200,
		"https://autoconfig.provider.example/mail/config-v1.1.xml?emailaddress=nobody%2bx@EXAMPLE.org":        200,
		"https://autoconfig.example.org/mail/config-v1.1.xml?emailaddress=a@sales.example.net":                200,
		"https://autoconfig.example.org/mail/config-v1.1.xml?emailaddress=a@m%C3%BCnchen.example":             200,
		"https://autoconfig.example.org/mail/config-v1.1.xml?emailaddress=a@xn--mnchen-3ya.example":           200,
		"https://autoconfig.example.org/mail/config-v1.1.xml?emailaddress=":                                   200,
		"https://autoconfig.provider.example/mail/config-v1.1.xml":                                            404,
		"https://192.0.2.1/mail/config-v1.1.xml":                                                              404,
		"https://autoconfig.example.org/mail/config-v1.1.xml?emailaddress=a@example.net":                      404,
		"https://autoconfig.example.org/mail/config-v1.1.xml?emailaddress=a@other.example":                    404,
		"https://autoconfig.example.org/mail/config-v1.1.xml?emailaddress=a@[192.0.2.1]":                      404,
		"https://autoconfig.example.org/mail/config-v1.1.xml?emailaddress=example.org":                        400,
		"https://autoconfig.example.org/mail/config-v1.1.xml?emailaddress=a@b@example.org":                    400,
		"https://autoconfig.example.org/mail/config-v1.1.xml?emailaddress=a@example.org&emailaddress=b@x.org": 400,
		"https://autoconfig.example.org/mail/config-v1.1.xml?emailaddress=%3Cx%3E@example.org%00":             400,
		"https://autoconfig.example.org/email.mobileconfig?email=nobody@example.org":                          200,
		"https://autoconfig.example.org/email.mobileconfig?emailaddress=alice@example.org":                    200,
		"https://autoconfig.example.org/email.mobileconfig":                                                   400,
		"https://autoconfig.example.org/email.mobileconfig?email=alice@other.example":                         404,
		"https://autoconfig.example.org/":                                                                     418,
		"https://autoconfig.example.org/mail/config-v1.1.xml/":                                                418,
	} {
		if got, body := get(h, url); got != want {
			t.Errorf("%s: %d, not %d\n%s", url, got, want, body)
		}
	}
	r := httptest.NewRequest(http.MethodPost, "https://autoconfig.example.org/mail/config-v1.1.xml", nil)
	if got, _ := ask(h, r); got != http.StatusMethodNotAllowed {
		t.Error("POST:", got)
	}
}

// What one asks with is not in Thunderbird's answer: the program fills the address in.
func TestThunderbirdReflectsNothing(t *testing.T) {
	h := site(t, msa, nil)
	_, known := get(h, "https://autoconfig.example.org/mail/config-v1.1.xml?emailaddress=alice@example.org")
	_, hostile := get(h, `https://autoconfig.example.org/mail/config-v1.1.xml?emailaddress=%22%3Cscript%3E%26%22@Example.ORG&x=%3Cy`)
	if known == "" || known != hostile {
		t.Errorf("%s\n%s", known, hostile)
	}
	for _, want := range []string{"<username>%EMAILADDRESS%</username>", "<displayName>Example &amp; Sons</displayName>", "<domain>example.org</domain>", `<emailProvider id="example.org">`} {
		if !strings.Contains(known, want) {
			t.Errorf("no %s in\n%s", want, known)
		}
	}
	local := site(t, msa, func(h *Handler) { h.Username = "local_part" })
	if _, body := get(local, "https://autoconfig.example.org/mail/config-v1.1.xml"); !strings.Contains(body, "<username>%EMAILLOCALPART%</username>") {
		t.Error(body)
	}
}

// Before the msa app has started, and once the name is gone, the answer is 503: try again.
func TestNotRunning(t *testing.T) {
	h := site(t, described{}, nil)
	for _, url := range []string{"https://autoconfig.example.org/mail/config-v1.1.xml", "https://x/email.mobileconfig?email=a@example.org"} {
		if got, _ := get(h, url); got != http.StatusServiceUnavailable {
			t.Error(url, got)
		}
	}
	if got, _ := post(h, outlookRequest("alice@example.org")); got != http.StatusServiceUnavailable {
		t.Error("Autodiscover:", got)
	}
	if got, _ := get(h, "https://x/email.mobileconfig?email=a@other.example"); got != http.StatusNotFound {
		t.Error("another domain:", got)
	}
	remove := running.Push(nil, map[string]any{"msa": msa})
	if got, _ := get(h, "https://autoconfig.example.org/mail/config-v1.1.xml"); got != 200 {
		t.Error("started:", got)
	}
	remove()
	if got, _ := get(h, "https://autoconfig.example.org/mail/config-v1.1.xml"); got != http.StatusServiceUnavailable {
		t.Error("gone:", got)
	}
}

// Mistakes in the settings are named with a remedy.
func TestSettings(t *testing.T) {
	for want, h := range map[string]*Handler{
		"the msa server's name is required":             {},
		"domains is required":                           {Server: "msa"},
		`domains: domain pattern "a b"`:                 {Server: "msa", Domains: []string{"a b"}},
		"write behind it how TLS begins":                {Server: "msa", Domains: []string{"a.org"}, IMAP: []*Service{{Address: "h:1143"}}},
		"expected host:port":                            {Server: "msa", Domains: []string{"a.org"}, IMAP: []*Service{{Address: "imap.example.org"}}},
		"write the address alone: imap.example.org:993": {Server: "msa", Domains: []string{"a.org"}, IMAP: []*Service{{Address: "imaps://imap.example.org:993"}}},
		`"99999" is not a port`:                         {Server: "msa", Domains: []string{"a.org"}, POP3: []*Service{{Address: "h:99999"}}},
		`"none" is not one of implicit or starttls`:     {Server: "msa", Domains: []string{"a.org"}, SMTP: []*Service{{Address: "h:25", TLS: "none"}}},
		`username: "mail" is not one of`:                {Server: "msa", Domains: []string{"a.org"}, Username: "mail"},
		"imap: an address is required":                  {Server: "msa", Domains: []string{"a.org"}, IMAP: []*Service{nil}},
		`smtp: address "-:587": `:                       {Server: "msa", Domains: []string{"a.org"}, SMTP: []*Service{{Address: "-:587"}}},
		`display_name: `:                                {Server: "msa", Domains: []string{"a.org"}, DisplayName: "{no.such}"},
	} {
		h.log = zap.NewNop()
		if err := h.provision(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, not %s", err, want)
		}
	}
}

// What is wrong with domains is found where file and line are known.
func TestDomainsOfCaddyfile(t *testing.T) {
	t.Parallel()
	for block, want := range map[string]string{
		"":                                   "domains is required, as in: domains example.org, at Testfile:1",
		"{\n display_name x\n}":              "domains is required, as in: domains example.org, at Testfile:1",
		"{\n domains\n}":                     "domains takes one or more values, at Testfile:2",
		"{\n domains a.org\n domains @b\n}":  "a domain is expected here, as in b, at Testfile:3",
		"{\n domains a.org\n domains b c\n}": "",
	} {
		h := new(Handler)
		err := h.UnmarshalCaddyfile(caddyfile.NewTestDispenser("msa_autoconfig msa.example.org " + block))
		if (err == nil) != (want == "") || err != nil && !strings.HasSuffix(err.Error(), want) || err == nil && len(h.Domains) != 3 {
			t.Errorf("%q: %v, %q; want %s", block, err, h.Domains, want)
		}
	}
}

// certificate is self-signed.
func certificate(t *testing.T, until time.Time) certmagic.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(until.Unix()), Subject: pkix.Name{CommonName: "autoconfig.example.org"}, NotBefore: time.Unix(0, 0), NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certmagic.Certificate{Certificate: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}}
}

// The parameter may be spelled in any case, but is there once; an address is what was meant, or none.
func TestAsked(t *testing.T) {
	h := site(t, msa, nil)
	for query, want := range map[string]string{
		"EMAILADDRESS=alice@example.org": "alice@example.org", "Email=alice@example.org": "alice@example.org", "email=&email=alice@example.org": "alice@example.org",
		"email=%2Balice%2Bx@example.org": "+alice+x@example.org", "email=+alice@example.org": "+alice@example.org", "email=%22a+b%22@example.org": `"a b"@example.org`,
		"email=a@m%C3%BCnchen.example": "a@münchen.example", "email=a@xn--mnchen-3ya.example": "a@xn--mnchen-3ya.example",
		"email=%20alice@example.org": "", "email=alice@example.org%0A": "", "email=a@b@example.org": "", "email=a@b.org&EMail=c@example.org": "", "email=%ff@example.org": "", "email=%zz": "",
		"email=a%EF%BF%BF@example.org": "", "email=%EF%BF%BD@example.org": "", "email": "", "": "",
	} {
		status, text := get(h, "https://autoconfig.example.org/email.mobileconfig?"+query)
		if want == "" {
			if status != http.StatusBadRequest {
				t.Errorf("%s: %d %s", query, status, text)
			}
			continue
		}
		if status != http.StatusOK || readProfile(t, text).Content[0].Address != want {
			t.Errorf("%s: %d %s", query, status, text)
		}
	}
}

// What cannot be asked by a form or a bare link is refused by both of those who only read.
func TestMethods(t *testing.T) {
	h := site(t, msa, nil)
	for _, path := range []string{"/mail/config-v1.1.xml", "/.well-known/autoconfig/mail/config-v1.1.xml", "/email.mobileconfig?email=alice@example.org"} {
		for method, want := range map[string]int{http.MethodGet: 200, http.MethodHead: 200, http.MethodPost: 405, http.MethodPut: 405, http.MethodOptions: 405} {
			if status, _ := ask(h, httptest.NewRequest(method, "https://autoconfig.example.org"+path, strings.NewReader("x"))); status != want {
				t.Errorf("%s %s: %d", method, path, status)
			}
		}
	}
}
