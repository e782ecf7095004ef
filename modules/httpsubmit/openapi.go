package httpsubmit

import (
	_ "embed"
	"net/http"
)

// description is of what this package answers, by OpenAPI 3.1.
//
//go:embed openapi.json
var description []byte

// describe needs no login.
func describe(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return notAllowed(w, http.MethodGet, http.MethodHead)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "public, max-age=3600")
	_, _ = w.Write(description)
	return nil
}
