package httpsubmit

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// described is the description as it is served.
var described = sync.OnceValue(func() map[string]any {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(description))
	if err != nil {
		panic(err)
	}
	return v.(map[string]any)
})

// seen is what the description says, and of which of it there was an answer.
var seen = struct {
	sync.Mutex
	answers map[string]bool
}{answers: make(map[string]bool)}

// within goes down into a document.
func within(v any, names ...string) any {
	for _, name := range names {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	return v
}

// schemaAt has the schema at a place of the description.
func schemaAt(t testing.TB, names ...string) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	if err := c.AddResource("openapi.json", described()); err != nil {
		t.Fatal(err)
	}
	pointer := "openapi.json#"
	for _, name := range names {
		pointer += "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
	}
	s, err := c.Compile(pointer)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// asDescribed holds an answer to the description.
func asDescribed(t testing.TB, method, place string, w *httptest.ResponseRecorder) {
	t.Helper()
	method = strings.ToLower(method)
	status := strconv.Itoa(w.Code)
	operation := within(described(), "paths", place, method)
	if operation == nil {
		if w.Code != 405 || w.Header().Get("Allow") == "" {
			t.Errorf("%s %s is answered %d, and is not described", method, place, w.Code)
		}
		return
	}
	response := within(operation, "responses", status)
	kind := w.Header().Get("Content-Type")
	media := within(response, "content", kind)
	if media == nil {
		t.Errorf("%s %s is answered %s with %s, which is not described", method, place, status, kind)
		return
	}
	body, err := jsonschema.UnmarshalJSON(bytes.NewReader(w.Body.Bytes()))
	if err != nil {
		t.Errorf("%s %s: %v: %s", method, place, err, w.Body)
		return
	}
	if err := schemaAt(t, "paths", place, method, "responses", status, "content", kind, "schema").Validate(body); err != nil {
		t.Errorf("%s %s %s: %v\n%s", method, place, status, err, w.Body)
	}
	headers, _ := within(response, "headers").(map[string]any)
	for _, name := range []string{"Location", "Retry-After", "WWW-Authenticate", "Allow"} {
		if _, described := headers[name]; !described && w.Header().Get(name) != "" {
			t.Errorf("%s %s %s has %s, which is not described", method, place, status, name)
		} else if described && w.Header().Get(name) == "" && !(name == "Retry-After" && w.Code == 503) {
			t.Errorf("%s %s %s lacks %s", method, place, status, name)
		}
	}
	seen.Lock()
	defer seen.Unlock()
	seen.answers[method+" "+place+" "+status] = true
}

// documentAsDescribed holds a document that was accepted to the description.
func documentAsDescribed(t testing.TB, r *strings.Reader) {
	t.Helper()
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(r)
	if err != nil {
		t.Error(err)
		return
	}
	if err := schemaAt(t, "components", "schemas", "Document").Validate(document); err != nil {
		t.Errorf("accepted, and not as described: %v", err)
	}
}

// What is not as described is refused.
func TestUndescribed(t *testing.T) {
	_, h := serve(t)
	for _, body := range []string{`{}`, `[]`, `null`, `{"from":"a@example.org"}`, `{"from":null,"to":"b@example.net","text":"x"}`, `{"from":"a@example.org","to":1,"text":"x"}`,
		`{"from":"a@example.org","to":"b@example.net","text":[]}`, `{"from":"a@example.org","to":"b@example.net","text":"x","attachments":[{}]}`, `{"from":{"name":"x"},"to":"b@example.net","text":"x"}`,
		`{"from":"a@example.org","to":"b@example.net","text":"x","priority":1}`, `{"from":"a@example.org","to":"b@example.net","text":"x","headers":{"X":1}}`} {
		document, err := jsonschema.UnmarshalJSON(strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if schemaAt(t, "components", "schemas", "Document").Validate(document) == nil {
			t.Errorf("%s is described", body)
		}
		if w := ask(t, h, "POST", "/send/", body, asJSON); w.Code < 400 {
			t.Errorf("%s: %d", body, w.Code)
		}
	}
}

// What is described is what there is: the tests have had each answer.
func TestDescription(t *testing.T) {
	for place, v := range within(described(), "paths").(map[string]any) {
		for method, operation := range v.(map[string]any) {
			responses, _ := within(operation, "responses").(map[string]any)
			for status := range responses {
				t.Run(method+" "+place+" "+status, func(t *testing.T) { provoke(t, method, place, status) })
				if !seen.answers[method+" "+place+" "+status] {
					t.Errorf("%s %s is never answered %s", method, place, status)
				}
			}
		}
	}
	f, h := serve(t)
	_ = f
	w := ask(t, h, "GET", "/send/openapi.json", "", nil)
	if w.Code != 200 || !json.Valid(w.Body.Bytes()) {
		t.Error(w.Code, w.Body)
	}
}
