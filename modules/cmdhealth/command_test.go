package cmdhealth

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
)

// What a health check hears: nothing but the exit code counts, and whoever looks is told why.
func TestHealth(t *testing.T) {
	for name, tt := range map[string]struct {
		status    int
		answer    any
		out, fail string
	}{
		"ready":     {http.StatusOK, adminapi.Health{Ready: true}, "ready\n", ""},
		"not ready": {http.StatusServiceUnavailable, adminapi.Health{Reasons: []string{"spool: it is full", "server a: no certificate"}}, "", "messages cannot be accepted: spool: it is full; server a: no certificate"},
		"refused":   {http.StatusForbidden, map[string]string{"error": "host not allowed"}, "", "host not allowed"},
		"another":   {http.StatusOK, map[string]string{"status": "ok"}, "", "does --address name Caddy's admin API?"},
		"silent":    {http.StatusOK, adminapi.Health{}, "", "messages cannot be accepted"},
		"not ours":  {http.StatusNotFound, map[string]string{}, "", "has no mail submission server"},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet || r.URL.Path != "/msa/health" {
				t.Error(r.Method, r.URL)
			}
			w.WriteHeader(tt.status)
			_ = json.NewEncoder(w).Encode(tt.answer)
		}))
		var out bytes.Buffer
		cmd := newCommand()
		cmd.SetOut(&out)
		cmd.SetErr(new(bytes.Buffer))
		cmd.SetArgs([]string{"--address", srv.Listener.Addr().String()})
		err := cmd.Execute()
		srv.Close()
		if out.String() != tt.out || (err == nil) != (tt.fail == "") || err != nil && !strings.Contains(err.Error(), tt.fail) {
			t.Errorf("%s: %q, %v", name, out.String(), err)
		}
	}
}

// A server that takes connections and does not answer is not healthy, and the check ends: those who run it may have no time limit.
func TestNoAnswer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // which nobody accepts from
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cmd := newCommand()
	cmd.SetOut(new(bytes.Buffer))
	cmd.SetErr(new(bytes.Buffer))
	cmd.SetArgs([]string{"--address", l.Addr().String(), "--timeout", "50ms"})
	if err := cmd.Execute(); err == nil || !strings.Contains(err.Error(), "does not answer within 50ms") {
		t.Error(err)
	}
}
