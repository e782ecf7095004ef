package admin

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/running"
)

// A socket that listens on all addresses is looked at by one that it has: one of tcp6 is on no IPv4 address.
func TestSeen(t *testing.T) {
	s := Server{Name: "a", Listeners: running.Listeners{
		{Address: netip.MustParseAddrPort("[::]:587")}, {Address: netip.MustParseAddrPort("0.0.0.0:587")}, {Address: netip.MustParseAddrPort("[::]:2587"), IPv6Only: true},
		{Address: netip.MustParseAddrPort("[2001:db8::1]:465"), ImplicitTLS: true},
	}}
	d := s.seen(t.Context(), new(Patient))
	if !slices.Equal(d.StartTLS, []string{"127.0.0.1:587", "[::1]:2587"}) || !slices.Equal(d.Implicit, []string{"[2001:db8::1]:465"}) {
		t.Errorf("%+v", d)
	}
}
