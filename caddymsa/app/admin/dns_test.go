package admin

import (
	"net/netip"
	"testing"
)

// The doctor asks nobody to let an address pass that no receiver ever sees.
func TestPublicAddresses(t *testing.T) {
	known := []netip.Addr{netip.MustParseAddr("100.64.3.4"), netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("10.0.0.7")}
	if all := public(known); len(all) != 1 || all[0] != known[1] {
		t.Error(all)
	}
}
