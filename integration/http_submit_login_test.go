package integration

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// at is a client of an address of its own, that speaks to a site of the server's.
func (w *submitSite) at(local, address string, protocols *http.Protocols) *http.Client {
	config := w.tlsConfig()
	config.ServerName = submitName
	client := &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: config, Protocols: protocols, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(local)}}).DialContext(ctx, "tcp", address)
	}}}
	w.t.Cleanup(client.CloseIdleConnections)
	return client
}

// status is what a letter of a user's is answered there.
func (w *submitSite) status(client *http.Client, scheme, user string, header ...string) int {
	w.t.Helper()
	host := submitName
	if scheme == "http" {
		host = "127.0.0.1"
	}
	r, err := http.NewRequest("POST", scheme+"://"+host+sendTo("login@example.net"), strings.NewReader(letter("x")))
	if err != nil {
		w.t.Fatal(err)
	}
	name, password, _ := strings.Cut(user, ":")
	r.SetBasicAuth(name, password)
	r.Header.Set("Content-Type", "message/rfc822")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	response, err := client.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		w.t.Fatal(err)
	}
	return response.StatusCode
}

// Guesses by HTTP and by SMTP are counted together, whichever come first.
func TestHTTPSubmitThrottle(t *testing.T) {
	t.Parallel()
	w := startSubmitSite(t, layout{auth: "auth {\n\t\tfile $DIR/users.passwd\n\t\tthrottle {\n\t\t\tfailures 3\n\t\t\tdelay 1ms\n\t\t}\n\t}"})
	login := func(local, password, want string) {
		t.Helper()
		c, err := greeted(from(t, local, w.implicit), w.tlsConfig())
		if err != nil {
			t.Fatal(err)
		}
		defer c.close()
		if err := c.do("250", "EHLO client.example.org"); err != nil {
			t.Fatal(err)
		}
		if err := c.do(want, "AUTH PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00bob@example.net\x00"+password))); err != nil {
			t.Error(err)
		}
	}
	for range 3 {
		login("127.0.0.2", "guess", "535 5.7.8")
		if status := w.status(w.at("127.0.0.3", w.https, nil), "https", "bob@example.net:guess"); status != 401 {
			t.Error(status)
		}
	}
	if status := w.status(w.at("127.0.0.2", w.https, nil), "https", bob); status != 429 {
		t.Errorf("by HTTP after guesses by SMTP: %d", status)
	}
	login("127.0.0.3", "hunter2", "421 4.7.0")
	login("127.0.0.4", "hunter2", "235")
}

// Credentials in clear text are refused before anything is made of them: by whichever version of HTTP, before the
// body is asked for, and whatever is claimed by somebody whom the web server does not trust.
func TestHTTPSubmitClear(t *testing.T) {
	t.Parallel()
	w := startSubmitSite(t, layout{global: "servers {\n\t\tprotocols h1 h2 h2c\n\t\ttrusted_proxies static 127.0.0.9/32\n\t}"})
	h2c := new(http.Protocols)
	h2c.SetUnencryptedHTTP2(true)
	for name, tt := range map[string]struct {
		local  string
		header []string
		status int
	}{
		"this host":                   {"127.0.0.1", nil, 202},
		"a proxy":                     {"127.0.0.1", []string{"X-Forwarded-For", "192.0.2.1"}, 403},
		"a proxy that claims https":   {"127.0.0.1", []string{"X-Forwarded-For", "192.0.2.1", "X-Forwarded-Proto", "https"}, 403},
		"a claim of https alone":      {"127.0.0.1", []string{"X-Forwarded-Proto", "https"}, 403},
		"a claim in other words":      {"127.0.0.1", []string{"Forwarded", "for=192.0.2.1;proto=https"}, 403},
		"a trusted proxy":             {"127.0.0.9", []string{"X-Forwarded-For", "192.0.2.1", "X-Forwarded-Proto", "https"}, 202},
		"a trusted proxy, clear":      {"127.0.0.9", []string{"X-Forwarded-For", "192.0.2.1", "X-Forwarded-Proto", "http"}, 403},
		"a trusted proxy, both":       {"127.0.0.9", []string{"X-Forwarded-Proto", "https", "X-Forwarded-Proto", "http"}, 403},
		"a trusted proxy, not saying": {"127.0.0.9", []string{"X-Forwarded-For", "192.0.2.1"}, 403},
	} {
		for version, protocols := range map[string]*http.Protocols{"HTTP/1.1": nil, "h2c": h2c} {
			if status := w.status(w.at(tt.local, w.clear, protocols), "http", alice, tt.header...); status != tt.status {
				t.Errorf("%s by %s: %d", name, version, status)
			}
		}
	}
	guesses := strings.Count(w.log.String(), "authentication failed")
	nc := from(t, "127.0.0.1", w.clear)
	if _, err := fmt.Fprintf(nc, "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Forwarded-For: 192.0.2.1\r\nAuthorization: Basic YTpi\r\nContent-Type: message/rfc822\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n", sendTo("x@example.net")); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(nc).ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 403 ") {
		t.Errorf("%q, %v", line, err)
	}
	if n := strings.Count(w.log.String(), "authentication failed"); n != guesses {
		t.Errorf("%d guesses were looked at", n-guesses)
	}
}

// A key is its user's, outlasts the message, and is no second chance for what was taken back; HEAD is GET without a body.
func TestHTTPSubmitKeys(t *testing.T) {
	t.Parallel()
	dead := freeAddress(t) // nobody listens there
	w := startSubmitSite(t, layout{msa: "deliver relay " + dead + " {\n\t\ttls off\n\t}"})
	post := func(user, from string) *answer {
		return w.ask(user, "POST", "/send/?to=a@example.com&from="+from, strings.NewReader(strings.ReplaceAll(letter("x"), "alice@example.org", from)), "Idempotency-Key", "k")
	}
	first, other := post(alice, "alice@example.org"), post(bob, "bob@example.net")
	if first.status != 202 || other.status != 202 || first.ID == other.ID {
		t.Fatalf("%+v, %+v", first, other)
	}
	strange, missing := w.ask(bob, "GET", "/send/"+first.ID, nil), w.ask(bob, "GET", "/send/"+strings.Repeat("A", len(first.ID)), nil)
	if strange.status != 404 || strange.body != missing.body || strange.header.Get("Content-Length") != missing.header.Get("Content-Length") {
		t.Errorf("%+v, %+v", strange, missing)
	}
	for _, id := range []string{"%00", "A%0d%0aB", "%ff%fe", strings.Repeat("A", 5000)} {
		if a := w.ask(bob, "GET", "/send/"+id, nil); a.status != 404 || a.body != missing.body {
			t.Errorf("%s: %+v", id, a)
		}
	}
	w.await("it to be taken back", func() bool { return w.ask(alice, "DELETE", "/send/"+first.ID, nil).status == 200 })
	if again := post(alice, "alice@example.org"); again.status != 202 || again.ID != first.ID || again.body != first.body {
		t.Errorf("%+v", again)
	}
	if a := w.ask(alice, "GET", "/send/"+first.ID, nil); a.State != "deleted" {
		t.Errorf("%+v", a)
	}
	response, err := w.client.Do(w.request(alice, "HEAD", "/send/"+first.ID))
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != 200 || response.Header.Get("Content-Type") != "application/json" {
		t.Error(response.Status, response.Header)
	}
}

// request is one of a user's without a body.
func (w *submitSite) request(user, method, target string) *http.Request {
	w.t.Helper()
	r, err := http.NewRequest(method, "https://"+submitName+":"+port(w.https)+target, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	name, password, _ := strings.Cut(user, ":")
	r.SetBasicAuth(name, password)
	return r
}

// A message by HTTP is part of its request's trace, as the log tells; whether the site itself traces or not.
func TestHTTPSubmitTrace(t *testing.T) {
	t.Parallel()
	w := newSubmitSite(t, layout{msa: "tracing"})
	text, err := os.ReadFile(filepath.Join(w.dir, "Caddyfile"))
	if err != nil {
		t.Fatal(err)
	}
	w.write("Caddyfile", strings.Replace(string(text), "tls internal\n\thandle", "tls internal\n\ttracing\n\thandle", 1))
	w.runWeb()
	const first, second = "4bf92f3577b34da6a3ce929d0e0e4736", "0af7651916cd43dd8448eb211c80319c"
	if status := w.status(w.at("127.0.0.1", w.https, nil), "https", alice, "traceparent", "00-"+first+"-00f067aa0ba902b7-01"); status != 202 {
		t.Fatal(status)
	}
	if status := w.status(w.at("127.0.0.1", w.clear, nil), "http", alice, "traceparent", "00-"+second+"-00f067aa0ba902b7-01"); status != 202 {
		t.Fatal(status)
	}
	for _, id := range []string{first, second} {
		w.await("its trace", func() bool { return strings.Contains(w.log.String(), `"trace_id":"`+id+`"`) })
	}
}
