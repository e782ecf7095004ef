package cmdqueue

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Half of a message does not look like all of it: the command fails.
func TestCatCutOff(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "message/rfc822")
		_, _ = io.WriteString(w, "Subject: hello\r\n\r\nhel")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	defer s.Close()
	cmd := newCommand()
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetOut(new(bytes.Buffer))
	cmd.SetArgs([]string{"cat", "M1", "--address", s.Listener.Addr().String()})
	if err := cmd.Execute(); err == nil || !strings.Contains(err.Error(), "the message is not whole") {
		t.Error(err)
	}
}

// An answer about something else, of another service or of a newer server, is no message and no success.
func TestAnotherAnswer(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodPost:
			_, _ = io.WriteString(w, `{"done":["M2"],"lane":"other"}`)
		default:
			_, _ = io.WriteString(w, `{"id":"M2","facts":null}`)
		}
	}))
	defer s.Close()
	for want, args := range map[string][]string{
		"it is not about M1":   {"show", "M1"},
		"done with 1 message":  {"hold", "M1", "M2"},
		"of type \"text/plain": {"cat", "M1"},
		"is not an id":         {"show", strings.Repeat("M", 256)},
	} {
		cmd := newCommand()
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		cmd.SetOut(new(bytes.Buffer))
		cmd.SetArgs(append(args, "--address", s.Listener.Addr().String()))
		if err := cmd.Execute(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", args, err)
		}
	}
}
