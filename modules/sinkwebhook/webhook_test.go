package sinkwebhook

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/envelope"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/webcall"
)

var caddyContext = caddy.Context{Context: context.Background()}

// request is what arrived.
type request struct {
	envelope envelope.Envelope
	message  []byte
	key      string
}

// service takes everything in either format, or answers what it is told to.
type service struct {
	*httptest.Server
	mu     sync.Mutex
	got    []request
	status int
	text   string
	kind   string

	encoding string
}

func newService(t testing.TB) *service {
	v := &service{status: 200, kind: "text/plain"}
	v.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var req request
		var err error
		text := r.Header.Get("MSA-Envelope")
		if r.Header.Get("Content-Type") == "message/rfc822" {
			req.message, err = io.ReadAll(r.Body)
		} else if err = r.ParseMultipartForm(1 << 20); err == nil {
			text = r.FormValue("envelope")
			f, _, ferr := r.FormFile("message")
			if err = ferr; err == nil {
				req.message, err = io.ReadAll(f)
			}
		}
		if err == nil {
			err = json.Unmarshal([]byte(text), &req.envelope)
		}
		if err != nil {
			return // as a service that died
		}
		req.key = r.Header.Get("Idempotency-Key")
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.status < 300 {
			v.got = append(v.got, req)
		}
		w.Header().Set("Content-Type", v.kind)
		if v.encoding != "" {
			w.Header().Set("Content-Encoding", v.encoding)
		}
		w.WriteHeader(v.status)
		_, _ = io.WriteString(w, v.text)
	}))
	t.Cleanup(v.Close)
	return v
}

func (v *service) answer(status int, kind, text string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.status, v.kind, v.text, v.encoding = status, kind, text, ""
}

func (v *service) all() (messages [][]byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, r := range v.got {
		messages = append(messages, r.message)
	}
	return messages
}

func open(t testing.TB, v *service, s *Webhook) *Webhook {
	t.Helper()
	s.URL = v.URL
	if err := s.Provision(caddyContext); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Cleanup() })
	return s
}

func TestConformance(t *testing.T) {
	for _, format := range []string{"raw", "multipart"} {
		t.Run(format, func(t *testing.T) {
			msatest.Sink(t, func(t testing.TB) (queue.Sink, func() [][]byte) {
				v := newService(t)
				return open(t, v, &Webhook{Format: format}), v.all
			})
		})
	}
}

func TestEnvelope(t *testing.T) {
	for _, format := range []string{"raw", "multipart"} {
		v := newService(t)
		s := open(t, v, &Webhook{Format: format})
		d := msatest.NewDelivery([]byte("x: y\r\n\r\n"), "bób@example.org", "\U0001F600@example.org")
		for range 2 {
			if err := s.Deliver(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
		got := v.got[0].envelope
		if got.ID != d.Entry.ID || got.Sender != "alice@example.org" || len(got.Recipients) != 2 || got.Recipients[0].Address != "bób@example.org" || got.Recipients[1].Address != "\U0001F600@example.org" {
			t.Errorf("%s: %+v", format, got)
		}
		if v.got[0].key != got.Key || v.got[1].key != got.Key || got.Key != envelope.Key(d) {
			t.Errorf("keys %q, %q, %q", v.got[0].key, v.got[1].key, got.Key)
		}
	}
}

// A thousand recipients do not fit into a header.
func TestManyRecipients(t *testing.T) {
	v := newService(t)
	s := open(t, v, &Webhook{})
	var to []string
	for i := range 120 {
		to = append(to, fmt.Sprintf("%s%d@example.org", strings.Repeat("x", 50), i))
	}
	d := msatest.NewDelivery([]byte("x: y\r\n\r\n"), to...)
	if err := s.Deliver(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	seen, keys := map[string]bool{}, map[string]bool{}
	for _, r := range v.got {
		keys[r.key] = true
		for _, rcpt := range r.envelope.Recipients {
			seen[rcpt.Address] = true
		}
	}
	if len(v.got) < 3 || len(v.got) > 6 || len(seen) != 120 || len(keys) != len(v.got) {
		t.Errorf("%d requests, %d recipients, %d keys", len(v.got), len(seen), len(keys))
	}
	v.answer(503, "", "")
	if err := s.Deliver(t.Context(), d); !queue.IsUnreachable(err) {
		t.Error(err)
	}
}

// Services of one host are different destinations: one that is down, or knows nobody, holds up no other. What may be secret is not named.
func TestDestination(t *testing.T) {
	t.Setenv("MSA_HOOK", "https://in.example.org/s3cret?token=s3cret")
	t.Setenv("MSA_TOKEN", "s3cret")
	for url, want := range map[string]string{
		"https://in.example.org":                                      "in.example.org",
		"https://in.example.org/":                                     "in.example.org",
		"https://in.example.org/letters":                              "in.example.org/letters",
		"https://in.example.org/{env.MSA_TOKEN}?k=s3cret":             "in.example.org/{env.MSA_TOKEN}",
		"https://in.example.org/services/T0/XyZ0123456789abcdefghijk": "in.example.org/services/T0/~8856bc20",
		"https://in.example.org?k=a/b":                                "in.example.org",
		"{env.MSA_HOOK}":                                              "in.example.org",
	} {
		s := &Webhook{Config: webcall.Config{URL: url}}
		if err := s.Provision(caddyContext); err != nil {
			t.Fatal(err)
		}
		if got := s.Destination(nil, nil).Name; got != want {
			t.Errorf("%s: %s, want %s", url, got, want)
		}
	}
}

// A copy is another delivery than the one that it is a copy of, in one request and in several: a service that passes over what it has takes both.
func TestCopyHasKeyOfItsOwn(t *testing.T) {
	v := newService(t)
	s := open(t, v, &Webhook{})
	for _, n := range []int{1, 120} {
		var to []string
		for i := range n {
			to = append(to, fmt.Sprintf("%s%d@example.org", strings.Repeat("x", 50), i))
		}
		d := msatest.NewDelivery([]byte("x: y\r\n\r\n"), to...)
		v.got = nil
		keys := map[string]bool{}
		for _, d.Copy = range []string{"", "archive"} {
			if err := s.Deliver(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
		for _, r := range v.got {
			keys[r.key] = true
		}
		if len(v.got) < 2 || len(keys) != len(v.got) {
			t.Errorf("%d recipients: %d requests with %d keys", n, len(v.got), len(keys))
		}
	}
}

// All headers together are under 4 KiB, whatever clients say, and every recipient is delivered to once.
func TestHeaderSize(t *testing.T) {
	v := newService(t)
	var largest, shortened int
	wrapped := v.Config.Handler
	v.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := len(r.Method) + len(r.RequestURI) + len("  HTTP/1.1\r\nHost: \r\n\r\n") + len(r.Host)
		for name, values := range r.Header {
			for _, value := range values {
				n += len(name) + len(": \r\n") + len(value)
			}
		}
		v.mu.Lock()
		largest = max(largest, n)
		v.mu.Unlock()
		wrapped.ServeHTTP(w, r)
	})
	t.Setenv("MSA_KEY", "k3y")
	s := open(t, v, &Webhook{Config: webcall.Config{Bearer: conf.Secret(strings.Repeat("b", 800)), HMACKey: "{env.MSA_KEY}", Headers: map[string]string{"X-Tenant": strings.Repeat("t", 300)}}})
	for name, change := range map[string]func(e *queue.Entry, r *queue.Recipient){
		"plain": func(*queue.Entry, *queue.Recipient) {},
		"DSN": func(_ *queue.Entry, r *queue.Recipient) {
			r.Notify, r.ORCPT = []string{"FAILURE", "DELAY"}, "rfc822;"+r.Address
		},
		"UTF-8": func(_ *queue.Entry, r *queue.Recipient) { r.Address = strings.Repeat("ü", 80) + r.Address },
		"attributes": func(e *queue.Entry, _ *queue.Recipient) {
			e.Attributes = map[string]string{"a": strings.Repeat("a", 20000)}
		},
		"helo":  func(e *queue.Entry, _ *queue.Recipient) { e.Helo = strings.Repeat("h", 2000) },
		"ORCPT": func(_ *queue.Entry, r *queue.Recipient) { r.ORCPT = "rfc822;" + strings.Repeat("o", 3000) },
	} {
		v.got, largest, shortened = nil, 0, 0
		var to []string
		for i := range 200 {
			to = append(to, fmt.Sprintf("recipient%d@example.org", i))
		}
		d := msatest.NewDelivery([]byte("x: y\r\n\r\n"), to...)
		for _, r := range d.Recipients {
			change(d.Entry, r)
		}
		if err := s.Deliver(t.Context(), d); err != nil {
			t.Fatal(name, err)
		}
		seen := make(map[string]int)
		for _, r := range v.got {
			if r.envelope.Shortened {
				shortened++
			}
			for _, rcpt := range r.envelope.Recipients {
				seen[rcpt.Address]++
			}
		}
		if largest >= 4096 || len(seen) != 200 || len(v.got) > 200 || (shortened > 0) != (name == "attributes" || name == "helo" || name == "ORCPT") {
			t.Errorf("%s: %d octets of header, %d recipients, %d requests, %d shortened", name, largest, len(seen), len(v.got), shortened)
		}
	}
}

func TestStatus(t *testing.T) {
	v := newService(t)
	s := open(t, v, &Webhook{})
	deliver := func() error {
		return s.Deliver(t.Context(), msatest.NewDelivery([]byte("x: y\r\n\r\n"), "bob@example.org"))
	}
	for status, want := range map[int]string{
		200: "", 201: "", 202: "", 204: "",
		400: "554 5.6.0 ", 406: "554 5.6.0 ", 410: "554 5.1.1 ", 413: "554 5.3.4 ", 415: "554 5.6.1 ", 422: "554 5.6.0 ",
		401: "down", 403: "down", 404: "down", 405: "down", 429: "down", 502: "down", 503: "down", 504: "down",
		408: "again", 409: "again", 425: "again", 451: "again", 500: "again", 507: "again", 431: "again", 301: "again",
	} {
		v.answer(status, "text/plain; charset=utf-8", "No such desk\r\nand more")
		if status == 204 {
			v.answer(status, "", "")
		}
		err := deliver()
		reply, _ := err.(*smtp.SMTPError)
		switch {
		case want == "":
			if err != nil {
				t.Errorf("%d: %v", status, err)
			}
		case want == "down" || want == "again":
			if err == nil || reply != nil || queue.IsUnreachable(err) != (want == "down") || msatest.IsPermanent(err) {
				t.Errorf("%d: %v", status, err)
			}
		case reply == nil || !strings.HasPrefix(fmt.Sprintf("%d %d.%d.%d ", reply.Code, reply.EnhancedCode[0], reply.EnhancedCode[1], reply.EnhancedCode[2]), want) || reply.Message != "Refused by the recipient's system: No such desk":
			t.Errorf("%d: %v", status, err)
		}
	}
	v.answer(422, "text/html", "<h1>oh</h1>")
	if err := deliver(); !strings.HasSuffix(err.Error(), "system: 422 Unprocessable Entity") {
		t.Error(err)
	}
	v.answer(422, "Text/Plain;charset=UTF-8", "No such desk")
	if err := deliver(); !strings.HasSuffix(err.Error(), "system: No such desk") {
		t.Error(err)
	}
	v.answer(422, "text/plain", "\x1f\x8b")
	v.encoding = "gzip" // which nobody asked for
	if err := deliver(); !strings.HasSuffix(err.Error(), "system: 422 Unprocessable Entity") {
		t.Error(err)
	}
	v.Close()
	if err := deliver(); !queue.IsUnreachable(err) {
		t.Error(err)
	}
}

func TestTimeout(t *testing.T) {
	release := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-release
	}))
	defer slow.Close()
	defer close(release)
	s := &Webhook{Timeout: conf.Duration(time.Second)}
	s.URL = slow.URL
	if err := s.Provision(caddyContext); err != nil {
		t.Fatal(err)
	}
	err := s.Deliver(t.Context(), msatest.NewDelivery([]byte("x: y\r\n\r\n"), "bob@example.org"))
	if err == nil || queue.IsUnreachable(err) || msatest.IsPermanent(err) || !strings.Contains(err.Error(), "no answer within 1s") {
		t.Error(err)
	}
}

func TestConfig(t *testing.T) {
	for want, text := range map[string]string{
		"webhook takes a URL":                  "webhook",
		`unknown setting "method"`:             "webhook https://x {\n method PUT\n}",
		"is not a duration":                    "webhook https://x {\n timeout x\n}",
		"is not a whole number above 0":        "webhook https://x {\n concurrency 0\n}",
		`"xml" is not one of raw or multipart`: "webhook https://x {\n format xml\n}",
		"an http or https URL":                 "webhook ftp://x",
		"what is sent would go to x.org":       "webhook http://x.org/",
	} {
		s := new(Webhook)
		err := s.UnmarshalCaddyfile(caddyfile.NewTestDispenser(text))
		if err == nil {
			err = s.Provision(caddyContext)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func BenchmarkDeliver(b *testing.B) {
	v := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	defer v.Close()
	s := &Webhook{}
	s.URL, s.HMACKey = v.URL, "{env.MSA_BENCH_KEY}"
	b.Setenv("MSA_BENCH_KEY", "0123456789abcdef0123456789abcdef")
	if err := s.Provision(caddyContext); err != nil {
		b.Fatal(err)
	}
	m := bytes.Repeat([]byte("0123456789\r\n"), 4096/12)
	for b.Loop() {
		if err := s.Deliver(b.Context(), msatest.NewDelivery(m, "bob@example.org")); err != nil {
			b.Fatal(err)
		}
	}
}

// Log, history and events say what the service answered, be it to one request or to several.
func TestAnswered(t *testing.T) {
	for _, n := range []int{2, 200} {
		for status, want := range map[int]string{202: "202 Accepted thanks", 422: "422 Unprocessable Entity thanks", 500: "500 Internal Server Error thanks"} {
			v := newService(t)
			s := open(t, v, new(Webhook))
			v.answer(status, "text/plain", "thanks\nmore\n")
			var rcpts []string
			for i := range n {
				rcpts = append(rcpts, fmt.Sprintf("recipient-%d@long-domain.example.org", i))
			}
			d := msatest.NewDelivery([]byte("x: y\r\n\r\n"), rcpts...)
			_ = s.Deliver(t.Context(), d)
			for _, r := range d.Recipients {
				if a := d.AnswerOf(r); a.Reply != want || !strings.HasPrefix(a.Host, "127.0.0.1:") {
					t.Errorf("%d: %+v", n, a)
				}
			}
		}
	}
}

// The version and cipher suite of TLS are told, of a connection that was there too.
func TestAnsweredTLS(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, &service{Server: server}, &Webhook{Config: webcall.Config{TLSClient: conf.TLSClient{CA: []string{ca}}}})
	for range 2 {
		d := msatest.NewDelivery([]byte("x: y\r\n\r\n"), "bob@example.org")
		if err := s.Deliver(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		if a := d.AnswerOf(d.Recipients[0]); !strings.HasPrefix(a.TLS, "TLS 1.3 TLS_") {
			t.Errorf("%+v", a)
		}
	}
}
