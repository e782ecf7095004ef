package admin

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"go.uber.org/zap"
)

var errDisk = errors.New("input/output error")

// A message that cannot be read to its end does not look whole to who asked for it, nor has it an error of the admin API in its end.
func TestContentCutOff(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := sendMessage(w, r, io.MultiReader(strings.NewReader("Subject: hello\r\n\r\nhel"), iotest.ErrReader(errDisk)), zap.NewNop()); err != nil {
			_, _ = io.WriteString(w, `{"error":"input/output error"}`) // as Caddy does
		}
	}))
	defer s.Close()
	resp, err := http.Get(s.URL)
	if err != nil {
		return // nothing of it went out
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err == nil || strings.Contains(string(b), "error") {
		t.Errorf("%q, %v", b, err)
	}
}

// Before the first octet, and in the process, an error is an error.
func TestContentError(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	if err := sendMessage(httptest.NewRecorder(), r, iotest.ErrReader(errDisk), zap.NewNop()); !errors.Is(err, errDisk) {
		t.Error(err)
	}
	within := r.WithContext(context.WithValue(r.Context(), inProcessKey{}, true))
	if err := sendMessage(httptest.NewRecorder(), within, io.MultiReader(strings.NewReader("x"), iotest.ErrReader(errDisk)), zap.NewNop()); !errors.Is(err, errDisk) {
		t.Error(err)
	}
	w := httptest.NewRecorder()
	if err := sendMessage(w, r, strings.NewReader("x"), zap.NewNop()); err != nil || w.Body.String() != "x" || w.Header().Get("Content-Type") != "message/rfc822" {
		t.Error(err, w)
	}
}
