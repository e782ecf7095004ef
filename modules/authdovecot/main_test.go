//go:build linux

package authdovecot

import (
	"flag"
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	_ = flag.Set("test.parallel", "8") // they wait for Dovecot, which holds refusals back, rather than work
	os.Exit(m.Run())
}
