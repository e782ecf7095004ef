package httpconsole

import (
	"html"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/running"
)

func get(path string) *httptest.ResponseRecorder {
	c := &Console{log: zap.NewNop(), streams: newStreams()}
	w := httptest.NewRecorder()
	_ = c.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil), nil)
	return w
}

// Before the app has started, and where it is gone, a page says so.
func TestNotRunning(t *testing.T) {
	for _, path := range []string{"/", "/console/", "/messages", "/events?of=messages"} {
		if w := get(path); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "not running yet") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	for _, path := range []string{"/console.css", "/x/y/console.js", "/icon.svg"} {
		if w := get(path); w.Code != http.StatusOK || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

// fake answers with an error, whatever is asked.
type fake struct{ err error }

func (f fake) ServeAdmin(http.ResponseWriter, *http.Request, running.Operator) error { return f.err }

// What the admin API says that strangers wrote is shown, and does nothing.
func TestHostileErrors(t *testing.T) {
	defer running.Push(fake{errHostile}, nil)()
	body := get("/lanes").Body.String()
	if strings.Count(body, "<script") != 1 || strings.ContainsAny(body, "\x1b\u202e") || !strings.Contains(body, "⟨U+001B⟩") || !strings.Contains(body, "⟨U+202E⟩") {
		t.Error(body)
	}
}

type hostileError string

func (e hostileError) Error() string { return string(e) }

const errHostile = hostileError("<script>alert(1)</script>\x1b[2J\u202etxt")

func FuzzVisible(f *testing.F) {
	f.Add("a\x00b\u202ec\u200d\xff\x7f\u0085\n\té日本")
	f.Fuzz(func(t *testing.T, text string) {
		got := visibleHTML([]byte(html.EscapeString(text)))
		if !utf8.Valid(got) || strings.ContainsFunc(string(got), hidden) {
			t.Errorf("%q", got)
		}
		if !strings.ContainsFunc(text, hidden) && utf8.ValidString(text) && html.UnescapeString(string(got)) != text {
			t.Errorf("%q became %q", text, got)
		}
		if fromExact(exact(text)) != text || strings.ContainsFunc(exact(text), hidden) {
			t.Errorf("%q is not the same again", text)
		}
	})
}

func TestSearch(t *testing.T) {
	for q, want := range map[string][2]string{ // queue, history
		"":                                  {"", ""},
		"busy box":                          {"word=busy&word=box", "word=busy&word=box"},
		`"mailbox full"`:                    {"word=mailbox+full", "word=mailbox+full"},
		"bob@example.net":                   {"word=bob%40example.net", "address=bob%40example.net"},
		"M8K7VEGJ7FFG2DEC":                  {"word=M8K7VEGJ7FFG2DEC", "id=M8K7VEGJ7FFG2DEC"},
		"from:bob@example.net":              {"sender=bob%40example.net", "sender=bob%40example.net"},
		"from:<>":                           {"sender=%3C%3E", "sender=%3C%3E"},
		"to:example.net":                    {"recipient=example.net", "word=example.net"},
		`user:alice error:"no such one"`:    {"error=no+such+one&user=alice", "error=no+such+one&user=alice"},
		"state:queued":                      {"state=queued", "state=none"},
		"state:held":                        {"state=held", "state=held"},
		"state:delivered newer:2d":          {"-", "since=2d&state=delivered"},
		"newer:2d state:delivered":          {"-", "since=2d&state=delivered"},
		"hop:4XyZ older:1h":                 {"-", "hop_id=4XyZ&until=1h"},
		"lane:relay/a:25":                   {"lane=relay%2Fa%3A25", "word=relay%2Fa%3A25"},
		"http://x foo:bar":                  {"word=http%3A%2F%2Fx&word=foo%3Abar", "word=http%3A%2F%2Fx&word=foo%3Abar"},
		"state:eaten":                       {"!", "!"},
		"to:<":                              {"!", "!"},
		"older:yesterday":                   {"!", "!"},
		"to:bob to:example.net":             {"!", "!"}, // actions on all that is found would take those that one of them finds
		"lane:a lane:b":                     {"!", "!"},
		"state:held state:queued":           {"!", "!"},
		"user:a word user:b":                {"!", "!"},
		"hop:a hop:b":                       {"!", "!"},
		"M8K7VEGJ7FFG2DEC M8K7VEGJ7FFG2DED": {"word=M8K7VEGJ7FFG2DEC&word=M8K7VEGJ7FFG2DED", "id=M8K7VEGJ7FFG2DEC&word=M8K7VEGJ7FFG2DED"},
	} {
		s := parseSearch(q)
		got := [2]string{"-", s.history.Encode()}
		if s.queue != nil {
			got[0] = s.queue.Encode()
		}
		if s.problem != "" {
			got = [2]string{"!", "!"}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %q, not %q", q, got, want)
		}
	}
}

func FuzzSearch(f *testing.F) {
	f.Add(`from:a to:"b c" state:held x`)
	f.Add("to:<")
	f.Fuzz(func(t *testing.T, q string) {
		s := parseSearch(q)
		for _, values := range [][]string{s.queue["word"], s.history["word"]} {
			for _, word := range values {
				if word == "" {
					t.Errorf("%q: an empty word", q)
				}
			}
		}
	})
}

// Times within what we say of a lane are in the reader's zone, too; the rest of the text is text.
func TestWithMoments(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "<b>": "&lt;b&gt;", "since 2026-13-29T14:19:10Z": "since 2026-13-29T14:19:10Z",
		"down since 2026-11-29T14:19:10Z: <no>": `down since <time datetime="2026-11-29T14:19:10.000Z" title="2026-11-29 14:19:10 UTC">2026-11-29 14:19:10 UTC</time>: &lt;no&gt;`,
		"2026-11-29T14:19:10.5+01:00":           `<time datetime="2026-11-29T13:19:10.500Z" title="2026-11-29 13:19:10 UTC">2026-11-29 13:19:10 UTC</time>`,
	} {
		if got := string(withMoments(text)); got != want {
			t.Errorf("%q: %s", text, got)
		}
	}
}
