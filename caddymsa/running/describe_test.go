package running

import (
	"net/netip"
	"reflect"
	"testing"
)

// Clients are told each port once, implicit TLS first, and of loopback only where there is nothing else.
func TestReachable(t *testing.T) {
	l := func(address string, implicit bool) Listener {
		return Listener{Address: netip.MustParseAddrPort(address), ImplicitTLS: implicit}
	}
	for name, c := range map[string]struct{ all, want Listeners }{
		"none":            {nil, nil},
		"order":           {Listeners{l("[::]:587", false), l("[::]:2525", true), l("[::]:465", true)}, Listeners{l("[::]:465", true), l("[::]:2525", true), l("[::]:587", false)}},
		"two families":    {Listeners{l("192.0.2.1:587", false), l("[2001:db8::1]:587", false)}, Listeners{l("192.0.2.1:587", false)}},
		"loopback beside": {Listeners{l("127.0.0.1:10587", false), l("[::]:465", true)}, Listeners{l("[::]:465", true)}},
		"loopback alone":  {Listeners{l("127.0.0.1:10587", false), l("[::1]:10587", false)}, Listeners{l("127.0.0.1:10587", false)}},
	} {
		if got := c.all.Reachable(); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v", name, got)
		}
	}
}
