package httpsubmit

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/emersion/go-smtp"
	"go.opentelemetry.io/otel/trace"

	"github.com/caddy-msa/caddy-msa/caddymsa/running"
)

const letter = "From: alice@example.org\r\nTo: bob@example.net\r\nSubject: x\r\n\r\nbody\r\n.\r\n..\r\n"

const envelope = "?from=alice@example.org&to=bob@example.net"

// ask makes a request of alice's from this host. Headers that are set to "" are left out.
func ask(t testing.TB, h *Submit, method, target, body string, headers map[string]string) *httptest.ResponseRecorder {
	t.Helper()
	return askWith(t, h, method, target, strings.NewReader(body), headers)
}

func askWith(t testing.TB, h *Submit, method, target string, body io.Reader, headers map[string]string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, target, body)
	r.RemoteAddr = "127.0.0.1:5"
	r.SetBasicAuth("alice", "secret")
	r.Header.Set("Content-Type", "message/rfc822")
	vars := make(map[string]any)
	for name, value := range headers {
		switch {
		case name == "remote":
			r.RemoteAddr = value
		case name == "trusted":
			vars[caddyhttp.TrustedProxyVarKey] = true
		case value == "":
			r.Header.Del(name)
		default:
			r.Header.Set(name, value)
		}
	}
	r = r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, vars))
	w := httptest.NewRecorder()
	if err := h.ServeHTTP(w, r, nil); err != nil {
		t.Fatal(err)
	}
	place := "/{id}"
	switch path := r.URL.Path; {
	case strings.HasSuffix(path, "/"):
		place = "/"
	case strings.HasSuffix(path, "/openapi.json"):
		place = "/openapi.json"
	}
	asDescribed(t, method, place, w)
	if text, ok := body.(*strings.Reader); ok && w.Code == 202 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		documentAsDescribed(t, text)
	}
	return w
}

// saying returns the members of an answer.
func saying(t testing.TB, w *httptest.ResponseRecorder) (v struct {
	ID, Reply            string
	Status               int
	Detail, Policy, Rule string
	ReplyCode            int    `json:"reply_code"`
	Enhanced             string `json:"enhanced_code"`
	Recipients           []struct{ Address, Detail string }
}) {
	t.Helper()
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
	return v
}

// what is posted is what is stored, however it comes.
func TestWhole(t *testing.T) {
	f, h := serve(t)
	w := askWith(t, h, "POST", "/send/?from=alice%2Bx@example.org&to=bob@example.net&to=%22a+b%22@example.net&envid=a+b%3D&ret=HDRS&notify=FAILURE,DELAY&body=8BITMIME", slowly{strings.NewReader(letter)}, nil)
	m := f.last(t)
	if w.Code != 202 || w.Header().Get("Location") != "Q1" || saying(t, w).ID != "Q1" || saying(t, w).Reply != "250 2.0.0 Ok: queued as Q1" {
		t.Error(w.Code, w.Header(), w.Body)
	}
	if m.body != letter || m.from != "alice+x@example.org" || strings.Join(m.to, " ") != `bob@example.net "a b"@example.net` || m.options.EnvelopeID != "a b=" ||
		m.options.Return != "HDRS" || m.options.Body != "8BITMIME" || m.options.UTF8 {
		t.Errorf("%+v", m)
	}
	if ask(t, h, "POST", "/send/?from=&to=bob@example.net", letter, nil); f.last(t).from != "" {
		t.Errorf("%+v", f.last(t))
	}
	if ask(t, h, "POST", "/send/?from=alice@example.org&to=r%C3%A9@example.net", letter, nil); !f.last(t).options.UTF8 {
		t.Error("no SMTPUTF8")
	}
	if f.admitted != 0 {
		t.Errorf("%d never left", f.admitted)
	}
	if w.Header().Get("Cache-Control") != "no-store" {
		t.Error(w.Header())
	}
}

// The words of a media type are without case, and may have parameters.
func TestContentTypes(t *testing.T) {
	for kind, body := range map[string]string{
		"Message/RFC822": letter, "message/rfc822; charset=us-ascii": letter, "message/global;x=y": letter,
		`APPLICATION/Json;charset="UTF-8"`: `{"from":"alice@example.org","to":"bob@example.net","text":"x"}`,
	} {
		_, h := serve(t)
		target := "/send/" + envelope
		if body != letter {
			target = "/send/"
		}
		if w := ask(t, h, "POST", target, body, map[string]string{"Content-Type": kind, "Content-Encoding": "Identity"}); w.Code != 202 {
			t.Errorf("%s: %d %s", kind, w.Code, w.Body)
		}
	}
}

// Every refusal has its status, and the words of SMTP.
func TestRefusals(t *testing.T) {
	policy := func(code int, enhanced smtp.EnhancedCode) error {
		return &running.Refusal{SMTPError: &smtp.SMTPError{Code: code, EnhancedCode: enhanced, Message: "Text (size: max)"}, Policy: "size", Rule: "max"}
	}
	for name, tt := range map[string]struct {
		target, body string
		headers      map[string]string
		refuse       func(moment, what string) error
		status       int
		enhanced     string
		retry        bool
	}{
		"nothing said of the envelope": {target: "/send/", status: 400, enhanced: "5.5.4"},
		"no recipient":                 {target: "/send/?from=a@example.org", status: 400, enhanced: "5.5.4"},
		"unknown parameter":            {target: "/send/" + envelope + "&bcc=x@example.org", status: 400, enhanced: "5.5.4"},
		"twice":                        {target: "/send/" + envelope + "&from=x@example.org", status: 400, enhanced: "5.5.4"},
		"ret":                          {target: "/send/" + envelope + "&ret=ALL", status: 400, enhanced: "5.5.4"},
		"notify":                       {target: "/send/" + envelope + "&notify=NEVER,DELAY", status: 400, enhanced: "5.5.4"},
		"envid":                        {target: "/send/" + envelope + "&envid=%0d%0aX", status: 400, enhanced: "5.5.4"},
		"priority":                     {target: "/send/" + envelope + "&priority=1", status: 400, enhanced: "5.5.4"},
		"smtputf8":                     {target: "/send/" + envelope + "&smtputf8=no", status: 400, enhanced: "5.5.4"},
		"query":                        {target: "/send/?from=%zz", status: 400, enhanced: "5.5.4"},
		"sender":                       {target: "/send/?from=alice&to=bob@example.net", status: 422, enhanced: "5.1.7"},
		"sender with a parameter":      {target: "/send/?from=a@example.org%3E+SIZE%3D1&to=bob@example.net", status: 422, enhanced: "5.1.7"},
		"recipient":                    {target: "/send/?from=a@example.org&to=bob@", status: 422, enhanced: "5.1.3"},
		"line end in a recipient":      {target: "/send/?from=a@example.org&to=bob@example.net%0d%0aRCPT", status: 422, enhanced: "5.1.3"},
		"bare LF":                      {body: "A: b\n\nc\n", status: 422, enhanced: "5.6.0"},
		"NUL":                          {body: "A: b\r\n\r\n\x00\r\n", status: 422, enhanced: "5.6.0"},
		"too large":                    {body: letter + strings.Repeat("x", 2000), status: 413, enhanced: "5.3.4"},
		"content":                      {headers: map[string]string{"Content-Type": "text/plain"}, status: 415, enhanced: "5.6.0"},
		"compressed":                   {headers: map[string]string{"Content-Encoding": "gzip"}, status: 415, enhanced: "5.6.0"},
		"compressed twice":             {headers: map[string]string{"Content-Encoding": "identity, gzip"}, status: 415, enhanced: "5.6.0"},
		"another charset":              {headers: map[string]string{"Content-Type": "application/json; charset=iso-8859-1"}, status: 415, enhanced: "5.6.0"},
		"a broken parameter":           {headers: map[string]string{"Content-Type": "message/rfc822; charset"}, status: 415, enhanced: "5.6.0"},
		"no content type":              {headers: map[string]string{"Content-Type": ""}, status: 415, enhanced: "5.6.0"},
		"an empty parameter":           {target: "/send/" + envelope + "&notify=", status: 400, enhanced: "5.5.4"},
		"key":                          {headers: map[string]string{"Idempotency-Key": "a\x01"}, status: 400, enhanced: "5.5.4"},
		"key under way":                {headers: map[string]string{"Idempotency-Key": "busy"}, status: 409, enhanced: "4.3.0", retry: true},
		"policy":                       {refuse: at("MAIL", policy(550, smtp.EnhancedCode{5, 7, 1})), status: 403, enhanced: "5.7.1"},
		"policy of the message":        {refuse: at("DATA", policy(554, smtp.EnhancedCode{5, 6, 0})), status: 422, enhanced: "5.6.0"},
		"policy of size":               {refuse: at("DATA", policy(552, smtp.EnhancedCode{5, 3, 4})), status: 413, enhanced: "5.3.4"},
		"rate":                         {refuse: at("MAIL", policy(450, smtp.EnhancedCode{4, 7, 1})), status: 429, enhanced: "4.7.1", retry: true},
		"one at a time":                {refuse: at("RCPT", policy(452, smtp.EnhancedCode{4, 5, 3})), status: 422, enhanced: "4.5.3"},
		"full":                         {refuse: at("begin", &smtp.SMTPError{Code: 452, EnhancedCode: smtp.EnhancedCode{4, 3, 1}}), status: 503, enhanced: "4.3.1", retry: true},
		"login is stale":               {refuse: at("DATA", &smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 7, 0}}), status: 503, enhanced: "4.7.0", retry: true},
		"slow":                         {refuse: at("DATA", &smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 4, 2}}), status: 408, enhanced: "4.4.2"},
		"no journal":                   {headers: map[string]string{"Idempotency-Key": "a"}, refuse: at("key", &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 3, 3}}), status: 501, enhanced: "5.3.3"},
		"fault of ours":                {refuse: at("key", errors.New("disk /dev/sda1 is on fire")), headers: map[string]string{"Idempotency-Key": "a"}, status: 503, enhanced: "4.3.0", retry: true},
		"crowded":                      {refuse: at("admit", &smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 7, 0}}), status: 503, enhanced: "4.7.0", retry: true},
	} {
		t.Run(name, func(t *testing.T) {
			f, h := serve(t)
			f.settings.MessageSize, f.refuse = 1000, tt.refuse
			if tt.target == "" {
				tt.target = "/send/" + envelope
			}
			if tt.body == "" {
				tt.body = letter
			}
			w := ask(t, h, "POST", tt.target, tt.body, tt.headers)
			p := saying(t, w)
			if w.Code != tt.status || p.Status != tt.status || p.Enhanced != tt.enhanced || len(f.messages) > 0 {
				t.Errorf("%d %s, %d messages", w.Code, w.Body, len(f.messages))
			}
			if (w.Header().Get("Retry-After") != "") != tt.retry {
				t.Errorf("Retry-After: %q", w.Header().Get("Retry-After"))
			}
			if strings.Contains(w.Body.String(), "/dev") {
				t.Error(w.Body)
			}
			if _, ok := errors.AsType[*running.Refusal](errOf(tt.refuse)); ok && (p.Policy != "size" || p.Rule != "max" && len(p.Recipients) == 0 || p.Detail != "Text (size: max)") {
				t.Errorf("%+v", p)
			}
		})
	}
}

// at refuses at one moment.
func at(moment string, err error) func(string, string) error {
	return func(now, _ string) error {
		if now == moment {
			return err
		}
		return nil
	}
}

func errOf(refuse func(string, string) error) error {
	if refuse == nil {
		return nil
	}
	return refuse("MAIL", "")
}

// All recipients are accepted, or none; and each that is not is named.
func TestRecipients(t *testing.T) {
	f, h := serve(t)
	f.refuse = func(moment, what string) error {
		switch {
		case moment == "RCPT" && strings.HasPrefix(what, "no"):
			return &running.Refusal{SMTPError: &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "Not " + what}, Policy: "p"}
		case moment == "RCPT" && strings.HasPrefix(what, "later"):
			return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "Later"}
		}
		return nil
	}
	w := ask(t, h, "POST", "/send/?from=a@example.org&to=later@example.net&to=yes@example.net&to=no1@example.net&to=no2@example.net", letter, nil)
	p := saying(t, w)
	if w.Code != 403 || p.Detail != "Not no1@example.net" || p.Policy != "p" || len(p.Recipients) != 3 || p.Recipients[0].Address != "later@example.net" || p.Recipients[2].Detail != "Not no2@example.net" {
		t.Errorf("%d %+v", w.Code, p)
	}
	if w := ask(t, h, "POST", "/send/?from=a@example.org&to=later@example.net&to=yes@example.net", letter, nil); w.Code != 503 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	f.settings.Recipients = 2
	if w := ask(t, h, "POST", "/send/?from=a@example.org&to=1@example.net&to=2@example.net&to=3@example.net", letter, nil); w.Code != 422 || saying(t, w).Enhanced != "4.5.3" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// Credentials in clear text are not looked at, but from this host itself.
func TestClear(t *testing.T) {
	for name, tt := range map[string]struct {
		headers map[string]string
		taken   bool
	}{
		"loopback":                        {map[string]string{}, true},
		"loopback, IPv6":                  {map[string]string{"remote": "[::1]:5"}, true},
		"loopback, mapped":                {map[string]string{"remote": "[::ffff:127.0.0.1]:5"}, true},
		"unix socket":                     {map[string]string{"remote": "@"}, true},
		"elsewhere":                       {map[string]string{"remote": "192.0.2.1:5"}, false},
		"elsewhere, as a proxy would":     {map[string]string{"remote": "192.0.2.1:5", "X-Forwarded-Proto": "https"}, false},
		"a proxy on this host":            {map[string]string{"X-Forwarded-For": "192.0.2.1"}, false},
		"a proxy on this host, untrusted": {map[string]string{"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https"}, false},
		"a proxy on a socket":             {map[string]string{"remote": "@", "Forwarded": "for=192.0.2.1;proto=https"}, false},
		"a trusted proxy":                 {map[string]string{"trusted": "yes", "X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https"}, true},
		"a trusted proxy, elsewhere":      {map[string]string{"trusted": "yes", "remote": "192.0.2.1:5", "X-Forwarded-Proto": "HTTPS"}, true},
		"a trusted proxy, clear":          {map[string]string{"trusted": "yes", "X-Forwarded-Proto": "http"}, false},
		"a trusted proxy, added":          {map[string]string{"trusted": "yes", "X-Forwarded-Proto": "https, http"}, false},
		"a trusted proxy, silent":         {map[string]string{"trusted": "yes"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			f, h := serve(t)
			w := ask(t, h, "POST", "/send/"+envelope, letter, tt.headers)
			if tt.taken != (w.Code == 202) || tt.taken != (len(f.logins) == 1) {
				t.Errorf("%d %s, logins %q", w.Code, w.Body, f.logins)
			}
			if !tt.taken && (w.Code != 403 || w.Header().Get("WWW-Authenticate") != "" || saying(t, w).Enhanced != "5.7.0") {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
	_, h := serve(t)
	if w := ask(t, h, "POST", "https://mail.example.org/send/"+envelope, letter, map[string]string{"remote": "192.0.2.1:5"}); w.Code != 202 { // httptest sets TLS
		t.Errorf("https: %d %s", w.Code, w.Body)
	}
}

func TestLogin(t *testing.T) {
	for name, tt := range map[string]struct {
		header     string
		mechanisms []string
		status     int
		challenge  string
		login      string
	}{
		"basic":       {header: "Basic YWxpY2U6c2VjcmV0", status: 202, login: "PLAIN \x00alice\x00secret"},
		"basic, case": {header: "bAsIC YWxpY2U6c2VjcmV0", status: 202, login: "PLAIN \x00alice\x00secret"},
		"basic, far":  {header: "Basic   YWxpY2U6c2VjcmV0 ", status: 202, login: "PLAIN \x00alice\x00secret"},
		"bearer":      {header: "Bearer my-secret", status: 202, login: "OAUTHBEARER n,,\x01auth=Bearer my-secret\x01\x01"},
		"none":        {status: 401, challenge: `Basic realm="msa.example.org", charset="UTF-8"|Bearer realm="msa.example.org"`},
		"wrong":       {header: "Basic YWxpY2U6eA==", status: 401, challenge: `Basic realm="msa.example.org", charset="UTF-8"|Bearer realm="msa.example.org"`, login: "PLAIN \x00alice\x00x"},
		"token": {header: "Bearer token-expired", status: 401, challenge: `Basic realm="msa.example.org", charset="UTF-8"|Bearer realm="msa.example.org", error="invalid_token", scope="mail send"`,
			login: "OAUTHBEARER n,,\x01auth=Bearer token-expired\x01\x01"},
		"blocked":               {header: "Basic YWxpY2U6YmxvY2tlZA==", status: 429, login: "PLAIN \x00alice\x00blocked"},
		"not base64":            {header: "Basic !", status: 401, challenge: `Basic realm="msa.example.org", charset="UTF-8"|Bearer realm="msa.example.org"`},
		"NUL in the name":       {header: "Basic AGFsaWNlAHNlY3JldA==", status: 401, challenge: `Basic realm="msa.example.org", charset="UTF-8"|Bearer realm="msa.example.org"`},
		"another scheme":        {header: "Digest x", status: 401, challenge: `Basic realm="msa.example.org", charset="UTF-8"|Bearer realm="msa.example.org"`},
		"a token, not offered":  {header: "Bearer my-secret", mechanisms: []string{"PLAIN", "XOAUTH2"}, status: 401, challenge: `Basic realm="msa.example.org", charset="UTF-8"`},
		"passwords not offered": {header: "Basic YWxpY2U6c2VjcmV0", mechanisms: []string{"SCRAM-SHA-256"}, status: 403},
	} {
		t.Run(name, func(t *testing.T) {
			f, h := serve(t)
			if tt.mechanisms != nil {
				f.mechanisms = tt.mechanisms
			}
			w := ask(t, h, "POST", "/send/"+envelope, letter, map[string]string{"Authorization": tt.header})
			if got := strings.Join(w.Header().Values("WWW-Authenticate"), "|"); w.Code != tt.status && tt.status != 403 || got != tt.challenge || strings.Join(f.logins, "|") != tt.login {
				t.Errorf("%d %s\n%s\n%q", w.Code, w.Body, got, f.logins)
			}
			if len(f.messages) > 0 != (tt.status == 202) {
				t.Error("a message")
			}
			if f.admitted != 0 {
				t.Error("somebody never left")
			}
		})
	}
}

// The same request with the same key is one message; another is refused.
func TestOnce(t *testing.T) {
	f, h := serve(t)
	first := ask(t, h, "POST", "/send/"+envelope, letter, map[string]string{"Idempotency-Key": `"k"`})
	again := ask(t, h, "POST", "/send/"+envelope, letter, map[string]string{"Idempotency-Key": "k"})
	if again.Code != 202 || again.Body.String() != first.Body.String() || again.Header().Get("Location") != first.Header().Get("Location") {
		t.Errorf("%d %s, then %d %s", first.Code, first.Body, again.Code, again.Body)
	}
	for name, other := range map[string]*httptest.ResponseRecorder{
		"message":  ask(t, h, "POST", "/send/"+envelope, letter+".", map[string]string{"Idempotency-Key": "k"}),
		"envelope": ask(t, h, "POST", "/send/"+envelope+"&to=x@example.net", letter, map[string]string{"Idempotency-Key": "k"}),
		"type":     ask(t, h, "POST", "/send/"+envelope, letter, map[string]string{"Idempotency-Key": "k", "Content-Type": "message/global"}),
	} {
		if other.Code != 422 {
			t.Errorf("%s: %d %s", name, other.Code, other.Body)
		}
	}
	if ask(t, h, "POST", "/send/"+envelope, letter, map[string]string{"Idempotency-Key": "l"}); len(f.messages) != 2 {
		t.Errorf("%d messages", len(f.messages))
	}
}

func TestOwn(t *testing.T) {
	f, h := serve(t)
	f.own["Q1"] = &running.Message{ID: "Q1", State: running.Queued, Recipients: []running.Recipient{{Address: "bob@example.net", State: running.Queued}}}
	f.own["Q2"] = &running.Message{ID: "Q2", State: running.Delivered, Recipients: []running.Recipient{}}
	for _, tt := range []struct {
		method, target string
		status         int
	}{
		{"GET", "/send/Q1", 200}, {"HEAD", "/send/Q1", 200}, {"GET", "/send/Q3", 404}, {"DELETE", "/send/Q1", 200}, {"DELETE", "/send/Q2", 409}, {"DELETE", "/send/Q3", 404},
		{"POST", "/send/Q1", 405}, {"GET", "/send/", 405}, {"DELETE", "/send/", 405}, {"PUT", "/send/Q1", 405}, {"OPTIONS", "/send/", 405}, {"OPTIONS", "/send/Q1", 405}, {"HEAD", "/send/", 405},
		{"GET", "/send/Q1%00", 404}, {"GET", "/send/%FF", 404}, {"DELETE", "/send/..%2fQ1", 200}, {"DELETE", "/send/Q1'", 404}, {"GET", "/send/" + strings.Repeat("Q", 100), 404}, {"POST", "/send/openapi.json", 405},
	} {
		if tt.method == "HEAD" {
			continue // the recorder has a body where a server sends none
		}
		if w := ask(t, h, tt.method, tt.target, "", nil); w.Code != tt.status || w.Code == 405 && w.Header().Get("Allow") == "" {
			t.Errorf("%s %s: %d %s", tt.method, tt.target, w.Code, w.Body)
		}
	}
	if w := ask(t, h, "GET", "/send/Q1", "", map[string]string{"Authorization": ""}); w.Code != http.StatusUnauthorized {
		t.Error(w.Code)
	}
}

// provoke has an answer that no other test has, so that each is looked at.
func provoke(t *testing.T, method, place, status string) {
	f, h := serve(t)
	f.own["Q1"] = &running.Message{ID: "Q1", State: running.Delivered, Recipients: []running.Recipient{}}
	f.own["Q2"] = &running.Message{ID: "Q2", State: running.Queued, Recipients: []running.Recipient{}}
	headers := make(map[string]string)
	target := strings.NewReplacer("/{id}", "/send/Q1").Replace(place)
	if place == "/" {
		target = "/send/" + envelope
	}
	switch status {
	case "200":
		target = strings.Replace(target, "Q1", "Q2", 1)
	case "400":
		target = "/send/"
	case "401":
		headers["Authorization"] = ""
	case "403":
		headers["remote"] = "192.0.2.1:1"
	case "404":
		target = "/send/none"
	case "405":
		w := ask(t, h, "PATCH", target, "", nil)
		asDescribed(t, method, place, w)
		return
	case "408":
		f.refuse = at("DATA", errLost)
	case "409":
		headers["Idempotency-Key"] = "busy"
	case "413":
		f.settings.MessageSize = 1
	case "415":
		headers["Content-Type"] = "x/y"
	case "422":
		f.refuse = at("DATA", &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 6, 0}})
	case "429":
		headers["Authorization"] = "Bearer blocked"
	case "501":
		f.refuse, headers["Idempotency-Key"] = at("key", &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 3, 3}}), "a"
	case "503":
		f.refuse = at("admit", errNotRunning)
	}
	ask(t, h, strings.ToUpper(method), target, letter, headers)
}

// Before the msa app has started, which other apps may do earlier, and for names that are gone.
func TestNotRunning(t *testing.T) {
	_, h := serve(t)
	h.Server = "other.example.org"
	if w := ask(t, h, "POST", "/send/"+envelope, letter, nil); w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Error(w.Code, w.Body)
	}
}

// A site's own limit is a limit, and a client that goes away has no answer to wait for.
func TestBrokenOff(t *testing.T) {
	for _, target := range []string{"/send/" + envelope, "/send/?envelope=header"} {
		f, h := serve(t)
		if w := askWith(t, h, "POST", target, http.MaxBytesReader(nil, io.NopCloser(strings.NewReader(letter)), 10), nil); w.Code != 413 || len(f.messages) > 0 {
			t.Error(w.Code, w.Body)
		}
		if w := askWith(t, h, "POST", target, io.MultiReader(strings.NewReader(letter), iotest.ErrReader(io.ErrUnexpectedEOF)), nil); w.Code != 408 || len(f.messages) > 0 {
			t.Error(w.Code, w.Body)
		}
	}
	f, h := serve(t)
	if w := askWith(t, h, "POST", "/send/", io.MultiReader(strings.NewReader(`{"from":"a@example.org"`), iotest.ErrReader(io.ErrUnexpectedEOF)), asJSON); w.Code != 408 || len(f.messages) > 0 {
		t.Error(w.Code, w.Body)
	}
}

// Log, journal and metrics hear of each refusal once, as by SMTP: of what never becomes a message, too.
func TestRefusalsAreTold(t *testing.T) {
	for name, tt := range map[string]struct {
		target, kind, body string
		key                string
		told               int
	}{
		"accepted":        {"/send/" + envelope, "message/rfc822", letter, "", 0},
		"query":           {"/send/?x=y", "message/rfc822", letter, "", 1},
		"content":         {"/send/" + envelope, "text/plain", letter, "", 1},
		"header":          {"/send/?envelope=header", "message/rfc822", "From: alice\r\nTo: bob@example.net\r\n\r\n", "", 1},
		"JSON":            {"/send/", "application/json", `{"x":1}`, "", 1},
		"JSON, too large": {"/send/", "application/json", `{"from":"a@example.org","to":"b@example.net","text":"` + strings.Repeat("x", 2000) + `"}`, "", 1},
		"JSON, sender":    {"/send/", "application/json", `{"from":"a","to":"b@example.net","text":"x"}`, "", 1},
		"address":         {"/send/?from=a&to=b@example.net", "message/rfc822", letter, "", 1},
		"key":             {"/send/" + envelope, "message/rfc822", letter, "a\x01", 1},
		"under way":       {"/send/" + envelope, "message/rfc822", letter, "busy", 0},
	} {
		f, h := serve(t)
		f.settings.MessageSize = 1000
		w := ask(t, h, "POST", tt.target, tt.body, map[string]string{"Content-Type": tt.kind, "Idempotency-Key": tt.key})
		if len(f.refused) != tt.told || tt.told > 0 && f.refused[0].Reply.Message != saying(t, w).Detail {
			t.Errorf("%s: %d %s, told %+v", name, w.Code, w.Body, f.refused)
		}
	}
}

// A message is part of the trace that the web server has of its request, or else of the one that the client names.
func TestTraceparent(t *testing.T) {
	const client = "4bf92f3577b34da6a3ce929d0e0e4736"
	ofServer := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}})
	for name, tt := range map[string]struct {
		headers []string
		server  bool
		want    string
	}{
		"none":              {nil, false, trace.TraceID{}.String()},
		"sampled":           {[]string{"00-" + client + "-00f067aa0ba902b7-01"}, false, client},
		"not sampled":       {[]string{"00-" + client + "-00f067aa0ba902b7-00"}, false, client},
		"web server's":      {[]string{"00-" + client + "-00f067aa0ba902b7-01"}, true, trace.TraceID{1}.String()},
		"two":               {[]string{"00-" + client + "-00f067aa0ba902b7-01", "00-" + client + "-00f067aa0ba902b8-01"}, false, trace.TraceID{}.String()},
		"zeros":             {[]string{"00-00000000000000000000000000000000-00f067aa0ba902b7-01"}, false, trace.TraceID{}.String()},
		"something else":    {[]string{"00-" + client + "-01\r\nX"}, false, trace.TraceID{}.String()},
		"longer than it is": {[]string{"00-" + client + "-00f067aa0ba902b7-01" + strings.Repeat("x", 5000)}, false, trace.TraceID{}.String()},
	} {
		f, h := serve(t)
		r := httptest.NewRequest("POST", "/send/"+envelope, strings.NewReader(letter))
		r.RemoteAddr = "127.0.0.1:5"
		r.SetBasicAuth("alice", "secret")
		r.Header.Set("Content-Type", "message/rfc822")
		r.Header["Traceparent"] = tt.headers
		if tt.server {
			r = r.WithContext(trace.ContextWithSpanContext(r.Context(), ofServer))
		}
		w := httptest.NewRecorder()
		if err := h.ServeHTTP(w, r, nil); err != nil || w.Code != 202 {
			t.Fatalf("%s: %d %s, %v", name, w.Code, w.Body, err)
		}
		if f.span.TraceID().String() != tt.want || f.span.IsValid() && f.span.IsRemote() == tt.server {
			t.Errorf("%s: %+v", name, f.span)
		}
	}
}

// Who waits to be asked for the body hears of a refusal at once, and is asked for what is wanted.
func TestExpect(t *testing.T) {
	f, h := serve(t)
	f.settings.MessageSize = 1000
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = struct{ io.ReadCloser }{r.Body} // as Caddy wraps it
		if err := h.ServeHTTP(w, r, nil); err != nil {
			t.Error(err)
		}
	}))
	defer site.Close()
	for name, tt := range map[string]struct {
		headers string
		length  int
		want    string
	}{
		"clear":     {"X-Forwarded-For: 192.0.2.1\r\nAuthorization: Basic YWxpY2U6c2VjcmV0\r\n", 100, "HTTP/1.1 403 Forbidden\r\n"},
		"stranger":  {"", 100, "HTTP/1.1 401 Unauthorized\r\n"},
		"too large": {"Authorization: Basic YWxpY2U6c2VjcmV0\r\n", 5000, "HTTP/1.1 413 Request Entity Too Large\r\n"},
		"wanted":    {"Authorization: Basic YWxpY2U6c2VjcmV0\r\n", len(letter), "HTTP/1.1 100 Continue\r\n"},
	} {
		conn, err := net.Dial("tcp", site.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(conn, "POST /send/%s HTTP/1.1\r\nHost: x\r\n%sContent-Type: message/rfc822\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", envelope, tt.headers, tt.length); err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(conn)
		line, err := r.ReadString('\n')
		if line != tt.want {
			t.Errorf("%s: %q, %v", name, line, err)
		}
		if name == "wanted" {
			if _, err := io.WriteString(conn, letter); err != nil {
				t.Fatal(err)
			}
			_, _ = r.ReadString('\n')
			response, err := http.ReadResponse(r, nil)
			if err != nil || response.StatusCode != 202 || response.Close {
				t.Error(response, err)
			}
		}
		_ = conn.Close()
	}
}
