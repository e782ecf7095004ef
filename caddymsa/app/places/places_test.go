package places

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
)

func TestPlaces(t *testing.T) {
	Remember(json.RawMessage(`{"module": "x"}`), "Caddyfile:7")
	if at := Of(json.RawMessage(`{"module":"x"}`)); at != "Caddyfile:7" {
		t.Errorf("%q", at)
	}
	RememberServer(json.RawMessage(`{}`), Lines{"": "Caddyfile:3"})
	if Forget(); Of(json.RawMessage(`{"module":"x"}`)) != "" || OfServer(json.RawMessage(`{}`)) != nil {
		t.Error("places are known of another configuration")
	}
	err := At("Caddyfile:7", errors.New("no"))
	if err.Error() != "no, at Caddyfile:7" || At("Caddyfile:8", fmt.Errorf("x: %w", err)).Error() != "x: no, at Caddyfile:7" || At("", errors.New("no")).Error() != "no" {
		t.Error(err)
	}
	if at, rest := Cut(fmt.Errorf("x: %w", err)); at != "Caddyfile:7" || rest.Error() != "x: no" {
		t.Error(at, rest)
	}
}

// Caddy's words for where an error is are an operator's.
func TestWords(t *testing.T) {
	for want, err := range map[string]error{
		"file: path is required": Module(json.RawMessage(`{"module":"file"}`), errors.New("loading module 'file': provision msa.auth.file: path is required")),
		"size: too small":        Module(json.RawMessage(`{"module":"size"}`), errors.New("loading module 'size': msa.policies.size: invalid configuration: size: too small")),
		"matcher remote_ip: x":   Matcher(errors.New("module name 'remote_ip': provision msa.matchers.remote_ip: x")),
		"the first connection policy: unsupported cipher suite: FOO": ConnectionPolicy(errors.New("connection policy 0: building standard TLS config: unsupported cipher suite: FOO")),
		"the second connection policy: client_auth: open no.pem": ConnectionPolicy(
			errors.New("connection policy 1: building standard TLS config: provisioning client CA: loading module 'file': provision tls.ca_pool.source.file: open no.pem")),
	} {
		if err.Error() != want {
			t.Errorf("%s, want %s", err, want)
		}
	}
	for n, want := range map[int]string{1: "first", 10: "tenth", 11: "11th", 21: "21st", 112: "112th", 103: "103rd"} {
		if got := Ordinal(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
	if i, ok, rest := CutPosition(errors.New("position 1: x")); i != 1 || rest.Error() != "x" || !ok {
		t.Error(i, rest, ok)
	}
}
