package adminclient

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
)

// decode reads an answer. What has nothing of one in it, as {} and null of another service, is an error: it would be read as
// an answer whose values are all empty.
func (a *Admin) decode(body io.ReadCloser, answer any) error {
	defer body.Close()
	var text json.RawMessage
	err := json.NewDecoder(body).Decode(&text)
	if err == nil {
		err = json.Unmarshal(text, answer)
	}
	if err == nil && !says(text, reflect.TypeOf(answer).Elem()) {
		err = errors.New("it has nothing of what was asked for")
	}
	if err != nil {
		return fmt.Errorf("the answer cannot be read: %w; does %s name Caddy's admin API?", err, a.flagName())
	}
	return nil
}

// says tells whether an object has one of the members that every answer of the type has; a map's has any.
func says(text json.RawMessage, t reflect.Type) bool {
	if string(text) == "null" {
		return false
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(text, &members) != nil { // it is an array
		return true
	}
	if t.Kind() != reflect.Struct {
		return len(members) > 0
	}
	always := 0
	for _, f := range reflect.VisibleFields(t) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" || strings.Contains(options, "omit") {
			continue
		}
		always++
		if _, there := members[name]; there {
			return true
		}
	}
	return always == 0
}

// OpenAs is Open for an answer that is no JSON: what is not of the media type is not the server's.
func (a *Admin) OpenAs(path, mediaType string) (io.ReadCloser, error) {
	answer, err := a.request(http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	if is := answer.Header.Get("Content-Type"); is != mediaType {
		_ = answer.Body.Close()
		return nil, fmt.Errorf("the answer is of type %q, and not %s; does %s name Caddy's admin API?", is, mediaType, a.flagName())
	}
	return answer.Body, nil
}
