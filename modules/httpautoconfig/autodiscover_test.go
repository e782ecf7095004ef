package httpautoconfig

import (
	"encoding/xml"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func outlookRequest(address string) string {
	return `<?xml version="1.0" encoding="utf-8"?>
<Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006">
  <Request>
    <EMailAddress>` + address + `</EMailAddress>
    <AcceptableResponseSchema>` + nsOutlook + `</AcceptableResponseSchema>
  </Request>
</Autodiscover>`
}

func post(h *Handler, body string) (int, string) {
	r := httptest.NewRequest(http.MethodPost, "https://autodiscover.example.org/Autodiscover/Autodiscover.xml", strings.NewReader(body))
	r.Header.Set("Content-Type", "text/xml")
	return ask(h, r)
}

// Outlook gets what it needs, by every spelling of the path that its versions have.
func TestAutodiscover(t *testing.T) {
	h := site(t, msa, nil)
	var first string
	for _, path := range []string{"/autodiscover/autodiscover.xml", "/Autodiscover/Autodiscover.xml", "/AutoDiscover/AutoDiscover.xml", "/AUTODISCOVER/AUTODISCOVER.XML"} {
		status, body := ask(h, httptest.NewRequest(http.MethodPost, "https://autodiscover.example.org"+path, strings.NewReader(outlookRequest("Alice@Example.ORG"))))
		if first == "" {
			first = body
		}
		if status != 200 || body != first {
			t.Error(path, status, body)
		}
	}
	var got struct {
		XMLName  xml.Name `xml:"http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006 Autodiscover"`
		Response struct {
			Account struct {
				AccountType, Action string
				Protocol            []outlookProtocol
			}
		} `xml:"http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a Response"`
	}
	if err := xml.Unmarshal([]byte(first), &got); err != nil {
		t.Fatalf("%v in\n%s", err, first)
	}
	want := []outlookProtocol{
		{"IMAP", "imap.example.org", 993, "off", "Alice@Example.ORG", "off", "on", "SSL", "on", "", ""},
		{"POP3", "pop.example.org", 110, "off", "Alice@Example.ORG", "off", "on", "TLS", "on", "", ""},
		{"SMTP", "msa.example.org", 465, "off", "Alice@Example.ORG", "off", "on", "SSL", "on", "on", "off"},
		{"SMTP", "msa.example.org", 587, "off", "Alice@Example.ORG", "off", "on", "TLS", "on", "on", "off"},
	}
	a := got.Response.Account
	if a.AccountType != "email" || a.Action != "settings" || len(a.Protocol) != len(want) {
		t.Fatal(first)
	}
	for i := range want {
		if a.Protocol[i] != want[i] {
			t.Errorf("%+v, not %+v", a.Protocol[i], want[i])
		}
	}
}

// Errors are in the format's own way; what is not read safely is not read.
func TestAutodiscoverErrors(t *testing.T) {
	h := site(t, msa, nil)
	good := outlookRequest("alice@example.org")
	for name, c := range map[string]struct {
		body   string
		status int
		code   string
	}{
		"another domain": {outlookRequest("alice@other.example"), 404, "500"},
		"no address":     {outlookRequest(""), 200, "600"},
		"not an address": {outlookRequest("alice"), 200, "600"},
		"two addresses":  {strings.Replace(good, "<Acc", "<EMailAddress>b@example.org</EMailAddress><Acc", 1), 200, "600"},
		"empty":          {"", 200, "600"},
		"not XML":        {"{}", 200, "600"},
		"broken":         {good[:len(good)-5], 200, "600"},
		"large":          {strings.Replace(good, "<Request>", "<Request>"+strings.Repeat(" ", maxRequest), 1), 200, "600"},
		"ActiveSync":     {strings.Replace(good, nsOutlook, "http://schemas.microsoft.com/exchange/autodiscover/mobilesync/responseschema/2006", 1), 200, "601"},
		"an entity of its own": {`<!DOCTYPE a [<!ENTITY x "alice@example.org">]><Autodiscover><Request><EMailAddress>&x;</EMailAddress></Request></Autodiscover>`,
			200, "600"},
		"a file": {`<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><Autodiscover><Request><EMailAddress>&x;@example.org</EMailAddress></Request></Autodiscover>`,
			200, "600"},
		"another charset": {strings.Replace(good, "utf-8", "utf-7", 1), 200, "600"},
	} {
		status, body := post(h, c.body)
		if status != c.status || between(body, "<ErrorCode>", "<") != c.code || !strings.Contains(body, `<Autodiscover xmlns="`+nsAutodiscover+`">`) {
			t.Errorf("%s: %d\n%s", name, status, body)
		}
	}
	status, body := ask(h, httptest.NewRequest(http.MethodGet, "https://autodiscover.example.org/autodiscover/autodiscover.xml", nil))
	if status != 200 || between(body, "<ErrorCode>", "<") != "600" {
		t.Error("GET:", status, body)
	}
}

// The login name is the user's, escaped.
func TestAutodiscoverEscapes(t *testing.T) {
	h := site(t, msa, nil)
	status, body := post(h, outlookRequest(`"&lt;/LoginName&gt;&amp;"@example.org`))
	if status != 200 || strings.Count(body, "</LoginName>") != 4 || !strings.Contains(body, "&lt;/LoginName&gt;&amp;") {
		t.Error(status, body)
	}
}

// The answer to any request is well-formed, and has an account only for a listed domain.
func FuzzAutodiscover(f *testing.F) {
	f.Add(outlookRequest("alice@example.org"))
	f.Add(outlookRequest(`"&#x0;&lt;"@example.org`))
	f.Add("<a><b>")
	h := site(f, msa, nil)
	f.Fuzz(func(t *testing.T, body string) {
		status, answer := post(h, body)
		if err := xml.Unmarshal([]byte(answer), new(struct{ XMLName xml.Name })); err != nil {
			t.Fatalf("%v: %d\n%s", err, status, answer)
		}
		if strings.Contains(answer, "<LoginName>") != (status == 200 && !strings.Contains(answer, "<ErrorCode>")) {
			t.Fatal(status, answer)
		}
	})
}
