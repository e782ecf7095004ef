package app

import (
	"net/netip"
	"strings"
	"testing"
)

//
func TestReceivedFrom(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	for _, tt := range []struct {
		setting, helo string
		ip            netip.Addr
		want          string
	}{
		{"full", "client.example", v4, "client.example ([192.0.2.1])"},
		{"full", "client.example", v6, "client.example ([IPv6:2001:db8::1])"},
		{"full", "", v4, "[192.0.2.1]"},
		{"full", "", netip.Addr{}, "[127.0.0.1]"},
		{"full", "[192.0.2.1]", v4, "[192.0.2.1]"},
		{"no_client", "client.example", v4, ""},
		{"full", "[192.0.2.9", v4, "_192.0.2.9 ([192.0.2.1])"},
		{"full", "]pc[", v4, "_pc_ ([192.0.2.1])"},
		{"full", "[a]b]", v4, "[a_b] ([192.0.2.1])"},
		{"full", "MY_PC", v4, "MY_PC ([192.0.2.1])"},
		{"full", "MÜLLER-PC", v4, "M_LLER-PC ([192.0.2.1])"},
		{"full", "Bob's iPhone", v4, "Bob_s_iPhone ([192.0.2.1])"},
		{"full", "a (b; c) for <x@y>", v4, "a__b__c__for__x_y_ ([192.0.2.1])"},
		{"full", "[IPv6:fe80::1%eth0]", v6, "[IPv6:fe80::1_eth0] ([IPv6:2001:db8::1])"},
	} {
		srv := &Server{Received: tt.setting}
		if got := srv.receivedFrom(tt.helo, tt.ip); got != tt.want {
			t.Errorf("%+v: %q", tt, got)
		}
	}
	srv := &Server{Received: "hashed", hashKey: []byte("k")}
	a, b := srv.receivedFrom("x.example", v4), srv.receivedFrom("y.example", v4)
	if a != b || a == srv.receivedFrom("x.example", v6) || strings.Contains(a, "192") {
		t.Errorf("hashed: %q, %q", a, b)
	}
}

func TestQueueID(t *testing.T) {
	seen := make(map[string]bool)
	for range 10000 {
		id := newQueueID()
		if len(id) != 16 || seen[id] || strings.Trim(id, "0123456789ABCDEFGHJKMNPQRSTVWXYZ") != "" {
			t.Fatal(id)
		}
		seen[id] = true
	}
}
