package policyhttp

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/message"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/webcall"
)

func open(t testing.TB, p *HTTP) *HTTP {
	t.Helper()
	p.Timeout = cmp.Or(p.Timeout, conf.Duration(time.Minute)) // a busy machine may not keep the default
	if err := p.Provision(msatest.Context(t)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Cleanup() })
	return p
}

// says answers each question with what f returns.
func says(t testing.TB, f func(r *http.Request, q map[string]any) string) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q map[string]any
		if !strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/") {
			if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
				t.Error(err)
			}
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, f(r, q))
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

func TestConformance(t *testing.T) {
	service := func(_ *http.Request, q map[string]any) string {
		if q["sender"] == "no@example.org" {
			return `{"action":"refuse","code":554,"status":"5.6.0","text":"Not \r\n this one","rule":"r1"}`
		}
		if fmt.Sprint(q["recipient"]) == "map[address:later@example.net]" {
			return `{"action":"tempfail"}`
		}
		return `{"action":"accept","prepend":["X-Checked: yes","X-Second: too"]}`
	}
	msatest.Policy(t, func(t testing.TB) any {
		return open(t, &HTTP{Config: webcall.Config{URL: says(t, service)}, Moments: []string{"sender", "recipient", "message"}})
	},
		msatest.PolicyCase{Name: "accepted", Sender: "alice@example.org"},
		msatest.PolicyCase{Name: "refused", Sender: "no@example.org", Code: 554, Status: smtp.EnhancedCode{5, 6, 0}, Rule: "r1"},
		msatest.PolicyCase{Name: "later", Recipients: []string{"later@example.net"}, Code: 450, Status: smtp.EnhancedCode{4, 7, 1}},
	)
}

// The service learns what it needs, at the moments it is asked.
func TestQuestions(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	url := says(t, func(_ *http.Request, q map[string]any) string {
		b, _ := json.Marshal(q)
		mu.Lock()
		asked = append(asked, string(b))
		mu.Unlock()
		return `{"action":"accept","prepend":["X-A: 1","X-B: 2"]}`
	})
	p := open(t, &HTTP{Config: webcall.Config{URL: url}, Moments: []string{"sender", "recipient", "message"}})
	s, m := msatest.NewSubmission("alice", "alice@example.org"), msatest.NewMessage("Subject: a\r\n b\r\nno field\r\n\r\nbody\r\n")
	s.DeclaredSize = 99
	if err := msatest.Submit(context.Background(), p, s, []string{"bob@example.net"}, m); err != nil {
		t.Fatal(err)
	}
	if string(m.Prepended()) != "X-A: 1\r\nX-B: 2\r\n" {
		t.Errorf("%q", m.Prepended())
	}
	for i, want := range [][]string{
		{`"moment":"sender"`, `"sender":"alice@example.org"`, `"attributes":{"org":"example"}`, `"remote_ip":"192.0.2.7"`, `"declared_size":99`, `"session":"0123456789abcdef"`, `"version":1`, `"helo":"client.example.org"`},
		{`"moment":"recipient"`, `"recipient":{"address":"bob@example.net"}`},
		{`"moment":"message"`, `"recipients":[{"address":"bob@example.net"}]`, `"header":[["Subject","a b"]]`, `"size":34`, `"queue_id":"01TEST"`},
	} {
		for _, w := range want {
			if !strings.Contains(asked[i], w) {
				t.Errorf("question %d has no %s: %s", i, w, asked[i])
			}
		}
	}
	if len(asked) != 3 {
		t.Errorf("%d questions", len(asked))
	}
	// By default the message alone. What policies in front have put before it is told too.
	asked = nil
	p = open(t, &HTTP{Config: webcall.Config{URL: url}})
	if err := msatest.Submit(context.Background(), p, msatest.NewSubmission("alice", ""), []string{"bob@example.net"}, m); err != nil || len(asked) != 1 {
		t.Fatalf("%v, %d questions", err, len(asked))
	}
	if want := `"header":[["X-A","1"],["X-B","2"],["Subject","a b"]]`; !strings.Contains(asked[0], want) {
		t.Errorf("the question has no %s: %s", want, asked[0])
	}
}

// With content, the message goes along as it will be stored.
func TestContent(t *testing.T) {
	const octets = "Subject: x\r\n\r\n\xff binary \x00\r\n"
	url := says(t, func(r *http.Request, _ map[string]any) string {
		if r.ContentLength <= 0 {
			t.Error("no length")
		}
		question := r.FormValue("question")
		f, _, err := r.FormFile("message")
		if err != nil {
			t.Error(err)
			return ""
		}
		b, _ := io.ReadAll(f)
		if string(b) != "X-Before: 1\r\n"+octets || !strings.Contains(question, `"moment":"message"`) {
			t.Errorf("%q %s", b, question)
		}
		return `{"action":"accept"}`
	})
	p := open(t, &HTTP{Config: webcall.Config{URL: url, HMACKey: "key"}, Content: true})
	m := msatest.NewMessage(octets)
	m.Prepend("X-Before: 1\r\n")
	if err := p.CheckMessage(context.Background(), msatest.NewSubmission("alice", ""), m); err != nil {
		t.Fatal(err)
	}
}

// What is not an answer is a failure, which is tempfail, refuse or accept by configuration.
func TestFailures(t *testing.T) {
	status := func(code int) string {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }))
		t.Cleanup(srv.Close)
		return srv.URL
	}
	raw := func(text string) string { return says(t, func(*http.Request, map[string]any) string { return text }) }
	hang := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	defer slow.Close()
	defer close(hang)
	for name, url := range map[string]string{
		"500": status(500), "204": status(204), "404": status(404), "down": "http://127.0.0.1:1", "slow": slow.URL, "empty": raw(""), "no JSON": raw("yes"), "unknown": raw(`{"action":"accept","colour":"red"}`),
		"action": raw(`{"action":"maybe"}`), "class": raw(`{"action":"refuse","code":450}`), "421": raw(`{"action":"tempfail","code":421}`), "status": raw(`{"action":"refuse","status":"4.7.1"}`), "status, more": raw(`{"action":"refuse","status":"5.7.1 no"}`), "status, sign": raw(`{"action":"refuse","status":"5.+7.1"}`), "reply": raw(`{"action":"accept","text":"x"}`),
		"field": raw(`{"action":"accept","prepend":["X: a\r\nY: b"]}`), "field name": raw(`{"action":"accept","prepend":["no field"]}`), "two": raw(`{"action":"accept"} {"action":"refuse"}`), "brace": raw(`{"action":"accept"}}`), "hidden": raw(`{"action":"accept"} ] {"action":"refuse"}`), "long": raw(`{"action":"accept"}` + strings.Repeat(" ", maxAnswer)),
	} {
		for onFailure, want := range map[string]int{"": 0, "refuse": 554, "accept": 250} {
			p := open(t, &HTTP{Config: webcall.Config{URL: url}, OnFailure: onFailure, Timeout: conf.Duration(30 * time.Second)})
			if name == "slow" {
				p.Timeout = conf.Duration(100 * time.Millisecond)
			}
			m := msatest.NewMessage("Subject: x\r\n\r\n")
			err := p.CheckMessage(context.Background(), msatest.NewSubmission("alice", ""), m)
			r, refused := errors.AsType[*caddymsa.Refusal](err)
			switch {
			case want == 250 && err != nil, want == 554 && (!refused || r.Code != 554), want == 0 && (err == nil || refused):
				t.Errorf("%s, on_failure %q: %v", name, onFailure, err)
			}
			if len(m.Prepended()) > 0 {
				t.Errorf("%s: %q", name, m.Prepended())
			}
		}
	}
}

// Where the server asks no more, as at the end of a configuration, the service has not failed: the client is to try again.
func TestGivenUp(t *testing.T) {
	hang, asked := make(chan struct{}), make(chan struct{})
	url := says(t, func(*http.Request, map[string]any) string { asked <- struct{}{}; <-hang; return "" })
	defer close(hang)
	for _, onFailure := range caddymsa.OnFailure {
		p := open(t, &HTTP{Config: webcall.Config{URL: url}, OnFailure: onFailure, Timeout: conf.Duration(time.Hour)})
		ctx, cancel := context.WithCancel(context.Background())
		go func() { <-asked; cancel() }()
		err := p.CheckMessage(ctx, msatest.NewSubmission("alice", ""), msatest.NewMessage("Subject: x\r\n\r\n"))
		if _, refused := errors.AsType[*caddymsa.Refusal](err); err == nil || refused {
			t.Errorf("on_failure %s: %v", onFailure, err)
		}
	}
}

// No more questions at once than the service is to have.
func TestConcurrency(t *testing.T) {
	release := make(chan struct{})
	url := says(t, func(*http.Request, map[string]any) string { <-release; return `{"action":"accept"}` })
	p := open(t, &HTTP{Config: webcall.Config{URL: url}, Concurrency: 1, Timeout: conf.Duration(time.Minute)})
	done := make(chan error)
	ask := func(ctx context.Context) {
		done <- p.CheckMessage(ctx, msatest.NewSubmission("alice", ""), msatest.NewMessage("Subject: x\r\n\r\n"))
	}
	go ask(context.Background())
	for len(p.turns) == 0 {
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go ask(ctx)
	cancel()
	if err := <-done; err == nil || !strings.Contains(err.Error(), "under way") {
		t.Error(err)
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestBadConfig(t *testing.T) {
	for _, p := range []*HTTP{{}, {Config: webcall.Config{URL: "http://example.org"}}, {Config: webcall.Config{URL: "https://x"}, Moments: []string{"never"}}, {Config: webcall.Config{URL: "https://x"}, OnFailure: "panic"}, {Config: webcall.Config{URL: "https://x"}, Timeout: -1}} {
		if err := p.Provision(msatest.Context(t)); err == nil {
			t.Errorf("%+v: no error", p)
		}
	}
}

// What a service adds is folded where it is too long for a line, and encoded where it is not ASCII.
func TestFieldOf(t *testing.T) {
	words, word := strings.Repeat("abc def, ", 150), strings.Repeat("x", 1200)
	for _, f := range []string{"X-A: 1", "X-A:", "X-A:  two  spaces ", "X-A: " + words, "X-A: " + word, "X-A: grün", "X-A: " + strings.Repeat("grün ", 300)} {
		if err := checkField(f); err != nil {
			t.Errorf("%.20s: %v", f, err)
			continue
		}
		for _, smtputf8 := range []bool{false, true} {
			got := fieldOf(f, smtputf8)
			for line := range strings.Lines(got) {
				if len(line) > message.MaxLine+2 || !smtputf8 && strings.ContainsFunc(line, func(r rune) bool { return r > '~' }) {
					t.Errorf("%.20s: a line of %d octets: %.80q", f, len(line), line)
				}
			}
			h, err := message.ReadHeader(strings.NewReader(got))
			_, value, _ := strings.Cut(f, ":")
			if err != nil || len(h) != 1 || h[0].Text() != strings.TrimSpace(value) || len(f) < 20 && strings.IndexByte(f, 0xC3) < 0 && got != f+"\r\n" {
				t.Errorf("%.20s: %.80q", f, got)
			}
		}
	}
	for _, f := range []string{"X-A: 1\r\nX-B: 2", "X-A: \x00", "X-A: \u0085", "X-A: \xff", "X A: 1", "1", ": 1", strings.Repeat("x", 77) + ": 1"} {
		if checkField(f) == nil {
			t.Errorf("%q is taken", f)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"action":"accept","prepend":["X: y"]}`))
	f.Add([]byte(`{"action":"refuse","code":554,"status":"5.6.0","text":"no","rule":"r"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := parseAnswer(b)
		if err != nil {
			return
		}
		if r, ok := errors.AsType[*caddymsa.Refusal](a.refusal()); ok && (r.Code/100 != r.Status[0] || r.Code < 400 || r.Code > 599) {
			t.Fatalf("%s became %+v", b, r)
		}
		for _, field := range a.Prepend {
			if strings.ContainsAny(field, "\r\n\x00") {
				t.Fatalf("%q", field)
			}
		}
	})
}

func BenchmarkHTTP(b *testing.B) {
	p := open(b, &HTTP{Config: webcall.Config{URL: says(b, func(*http.Request, map[string]any) string { return `{"action":"accept"}` })}})
	b.ReportAllocs()
	for b.Loop() {
		if err := p.CheckMessage(context.Background(), msatest.NewSubmission("alice", ""), msatest.NewMessage("Subject: x\r\n\r\nbody\r\n")); err != nil {
			b.Fatal(err)
		}
	}
}
