package app

import (
	"errors"
	"net"
	"testing"

	"github.com/pires/go-proxyproto"
)

// brokenWrapper's listener fails for good.
type brokenWrapper struct{ net.Listener }

func (brokenWrapper) WrapListener(ln net.Listener) net.Listener { return brokenWrapper{ln} }

func (brokenWrapper) Accept() (net.Conn, error) { return nil, errors.New("broken") }

// A wrapper that fails costs the one connection, and nothing spins.
func TestBrokenWrapper(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	broken := &arrival{nc: b, wrappers: []wrapper{{brokenWrapper{}, nil}}}
	if nc, err := broken.wrap(); err == nil {
		t.Error("wrapped", nc)
	}
}

// Whose word counts, and what becomes of that of others.
func TestProxyRules(t *testing.T) {
	rules, err := parseProxyRules([]byte(`{"wrapper": "proxy_protocol", "allow": ["192.0.2.0/24", "2001:db8::/32"], "deny": ["192.0.2.7/32"], "fallback_policy": "skip"}`))
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]struct {
		trusted bool
		policy  proxyproto.Policy
	}{
		"192.0.2.1:25": {true, proxyproto.SKIP}, "[::ffff:192.0.2.1]:25": {true, proxyproto.SKIP}, "[2001:db8::1]:25": {true, proxyproto.SKIP},
		"192.0.2.7:25": {false, proxyproto.REJECT}, "198.51.100.1:25": {false, proxyproto.SKIP},
	} {
		peer, err := net.ResolveTCPAddr("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		if rules.trusts(peer) != want.trusted || rules.policy(peer) != want.policy {
			t.Errorf("%s: %v, %v", address, rules.trusts(peer), rules.policy(peer))
		}
	}
	if !rules.trusts(&net.UnixAddr{Net: "unix"}) {
		t.Error("a unix socket is not trusted")
	}
	for _, raw := range []string{`{"wrapper": "proxy_protocol"}`, `{"wrapper": "proxy_protocol", "allow": ["192.0.2.0/24"], "fallback_policy": "use"}`,
		`{"wrapper": "proxy_protocol", "allow": ["192.0.2.0/24"], "fallback_policy": "REQUIRE"}`} {
		if rules, err := parseProxyRules([]byte(raw)); err != nil || rules.check() == nil {
			t.Errorf("%s: taken, %v", raw, err)
		}
	}
	if _, err := parseProxyRules([]byte(`{"wrapper": "proxy_protocol", "allow": ["office"]}`)); err == nil {
		t.Error("a name is taken for a network")
	}
	if rules, err := parseProxyRules([]byte(`{"wrapper": "tls"}`)); rules != nil || err != nil {
		t.Error(rules, err)
	}
}
