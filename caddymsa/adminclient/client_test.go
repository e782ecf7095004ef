package adminclient

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
)

// Whatever goes wrong with the admin API is a sentence, not what HTTP said.
func TestErrors(t *testing.T) {
	for want, answer := range map[string]struct {
		status int
		body   string
	}{
		"there is no message X in the queue":            {404, `{"error":"there is no message X in the queue"}` + "\n"},
		`state: "lost" is not a state`:                  {400, `{"error":"state: \"lost\" is not a state"}`},
		" has no mail submission server: it is not Cad": {404, "404 page not found\n"},
		"a Caddy with caddy-msa: HTTP 501":              {501, "<html>Unsupported</html>"},
		"does --address name Caddy's admin API?":        {200, "<html>hello</html>"},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(answer.status)
			_, _ = io.WriteString(w, answer.body)
		}))
		a := &Admin{address: s.Listener.Addr().String()}
		err := a.Get("/msa/queue/X", new(struct{}))
		s.Close()
		if err == nil || !strings.Contains(err.Error(), want) || strings.ContainsAny(err.Error(), "{}<>") && answer.status != 200 {
			t.Errorf("%d %s: %v", answer.status, answer.body, err)
		}
	}
	smtp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer smtp.Close()
	go func() {
		for {
			c, err := smtp.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "220 msa.example.org ESMTP\r\n")
			_ = c.Close()
		}
	}()
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	for address, want := range map[string]string{
		smtp.Addr().String():                            "is not Caddy's admin API",
		closed.Listener.Addr().String():                 "is Caddy running",
		"unix/" + filepath.Join(t.TempDir(), "nowhere"): "is Caddy running",
	} {
		a := &Admin{address: address}
		if err := a.Post("/msa/auth/test", struct{}{}, new(struct{})); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// What changes something says who runs the command.
func TestOperator(t *testing.T) {
	said := make(chan string, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		said <- r.Header.Get(adminapi.OperatorHeader)
		_, _ = io.WriteString(w, "{}")
	}))
	defer s.Close()
	t.Setenv("SUDO_USER", "alice")
	a := &Admin{address: s.Listener.Addr().String()}
	if err := a.Post("/msa/queue-actions/hold", struct{}{}, new(struct{})); err != nil {
		t.Fatal(err)
	}
	if by := <-said; !strings.HasPrefix(by, "alice") {
		t.Errorf("%q", by)
	}
}

// What some other service says is no answer whose values are all empty.
func TestAnotherService(t *testing.T) {
	for body, refused := range map[string][]bool{ // an entry, a map, a list
		`{}`:                     {true, true, true},
		`null`:                   {true, true, true},
		`{"status":"ok"}`:        {true, true, true},
		`[]`:                     {true, true, false},
		`{"id":"X"}`:             {false, true, true},
		`{"server":["backend"]}`: {true, false, true},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }))
		a := &Admin{address: s.Listener.Addr().String()}
		for i, answer := range []any{new(adminapi.Entry), new(map[string][]string), new([]adminapi.UserPage)} {
			if err := a.Get("/msa/x", answer); (err != nil) != refused[i] || err != nil && !strings.Contains(err.Error(), "does --address name Caddy's admin API?") {
				t.Errorf("%s into %T: %v", body, answer, err)
			}
		}
		if _, err := a.OpenAs("/msa/queue-content/X", "message/rfc822"); err == nil || !strings.Contains(err.Error(), "of type") {
			t.Errorf("%s: %v", body, err)
		}
		s.Close()
	}
}
