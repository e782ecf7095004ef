package httpsubmit

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/caddyserver/caddy/v2"
	"github.com/emersion/go-smtp"
)

// octets are some that do not repeat.
func octets(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

// large is a document with texts and attachments beyond what is held in memory, in an order that the message does not have.
func large(t testing.TB) (body, text, html string, first, second []byte) {
	text, html, first, second = strings.Repeat("ä text \n", 20_000), strings.Repeat("<p>\U0001f600", 20_000), octets(300_001), octets(70_000)
	member := func(name string, v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return `"` + name + `":` + string(b)
	}
	attachment := func(id string, b []byte) map[string]string {
		return map[string]string{"content": base64.StdEncoding.EncodeToString(b), "content_id": id, "type": "application/x-a"}
	}
	return "{" + member("attachments", []any{attachment("", second), attachment("shown", first)}) + "," + member("html", html) + "," + member("text", text) +
		`,"from":"a@example.org","to":"b@example.net"}`, text, html, first, second
}

// What is large is kept where messages are, read as often as its order asks, and nothing of it is left behind.
func TestLargeDocument(t *testing.T) {
	body, text, html, first, second := large(t)
	for _, slow := range []bool{false, true} {
		f, h := serve(t)
		var r io.Reader = strings.NewReader(body)
		if slow {
			r = iotest.HalfReader(r)
		}
		if w := askWith(t, h, "POST", "/send/", r, asJSON); w.Code != 202 {
			t.Fatal(w.Code, w.Body)
		}
		got := walk(t, f.last(t).body)
		want := []string{"multipart/mixed ", "multipart/alternative ", "text/plain  " + strings.ReplaceAll(text, "\n", "\r\n"), "multipart/related ",
			"text/html  " + html, "application/x-a inline <shown> " + string(first), "application/x-a attachment " + string(second)}
		if len(got) != len(want) {
			t.Fatalf("%.100q", got)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("%.100q, not %.100q", got[i], want[i])
			}
		}
		if f.scratched != 1 || f.scratches != 0 || f.readers != 0 || f.opened > 4 {
			t.Errorf("%d scratches, of which %d are open; %d readers, of which %d", f.scratched, f.scratches, f.opened, f.readers)
		}
	}
}

// Wherever it breaks off, the answer is right and nothing is left behind.
func TestLargeDocumentFails(t *testing.T) {
	body, _, _, _, _ := large(t)
	full := &smtp.SMTPError{Code: 452, EnhancedCode: smtp.EnhancedCode{4, 3, 1}}
	for name, tt := range map[string]struct {
		body   string
		size   int64
		at     string
		err    error
		status int
	}{
		"full":                  {at: "scratch", err: full, status: 503},
		"full on the way":       {at: "scratch write", err: full, status: 503},
		"a fault of ours":       {at: "scratch write", err: errors.New("/dev/sda1 is on fire"), status: 503},
		"refused":               {at: "MAIL", err: &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 7, 1}}, status: 403},
		"refused at its end":    {at: "DATA", err: &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 7, 1}}, status: 403},
		"not base64 at its end": {body: strings.Replace(body, `","content_id":"shown"`, `*","content_id":"shown"`, 1), status: 400},
		"cut short":             {body: body[:400_000], status: 400},
		"larger than messages":  {size: 300_000, status: 413},
		"larger by its text":    {body: `{"text":"` + strings.Repeat("x", 2000) + `"}`, size: 1000, status: 413},
		"white space":           {body: strings.Repeat(" ", 1<<20+5000), size: 1000, status: 413},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.body == "" {
				tt.body = body
			}
			for _, known := range []bool{true, false} { // how long it is
				f, h := serve(t)
				f.settings.MessageSize = tt.size
				f.refuse = at(tt.at, tt.err)
				var r io.Reader = strings.NewReader(tt.body)
				if !known {
					r = struct{ io.Reader }{r}
				}
				w := askWith(t, h, "POST", "/send/", r, asJSON)
				if w.Code != tt.status || len(f.messages) > 0 || bytes.Contains(w.Body.Bytes(), []byte("/dev")) {
					t.Errorf("%d %s", w.Code, w.Body)
				}
				if f.scratches != 0 || f.readers != 0 {
					t.Errorf("%d scratches and %d readers are open", f.scratches, f.readers)
				}
			}
		})
	}
}

// One message cannot be promised more than all have.
func TestJSONSize(t *testing.T) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	h := &Submit{Server: server, JSONSize: inMemory + 1}
	if err := h.Provision(ctx); err == nil || !strings.Contains(err.Error(), "json_size: at most 67108864") {
		t.Error(err)
	}
}
