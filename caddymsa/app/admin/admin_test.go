package admin

import (
	"strings"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
)

// A request is one document, of which nothing is passed over.
func TestReadJSON(t *testing.T) {
	for body, ok := range map[string]bool{
		"": true, `{"ids":["a"]} ` + "\n": true,
		`{"ids":["a"]}{"ids":["b"]}`: false, `{"ids":["a"]}x`: false, `{"ids":["a"]`: false, `{"id":["a"]}`: false,
	} {
		if err := readJSON(strings.NewReader(body), new(adminapi.QueueAction)); (err == nil) != ok {
			t.Errorf("%q: %v", body, err)
		}
	}
}
