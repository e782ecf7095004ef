package app

import (
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa"
)

func message(text string) *caddymsa.Message {
	return &caddymsa.Message{Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }}
}

// RFC 5321 section 6.3
func TestLoop(t *testing.T) {
	field := "Received: from a\r\n\tby b; x\r\n"
	for _, tt := range []struct {
		text string
		want error
	}{
		{strings.Repeat(field, maxReceived-1) + "\r\nReceived: in the body\r\n", nil},
		{strings.Repeat(field, maxReceived) + "\r\n", errLoop},
		{strings.Repeat("rEceIVED: x\r\n", maxReceived), errLoop},
		{strings.Repeat("X-Received: x\r\n", maxReceived) + "\r\n", nil},
		{strings.Repeat("X: "+strings.Repeat("Received:", 1000)+"\r\n", maxReceived) + "\r\n", nil},
		{"", nil},
		{"\r\n" + strings.Repeat(field, maxReceived), nil},
	} {
		if err := checkLoop(message(tt.text)); !errors.Is(err, tt.want) {
			t.Errorf("%.40q: %v, want %v", tt.text, err, tt.want)
		}
	}
}

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
