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
