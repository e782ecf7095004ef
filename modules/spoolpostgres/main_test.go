//go:build linux

package spoolpostgres

import (
	"flag"
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	for _, secret := range []string{"s3cret", "wr0ng"} { // of the settings that bodies makes
		_ = os.Setenv("MSA_S3_"+secret, secret)
	}
	_ = flag.Set("test.parallel", "10") // they wait for databases rather than work
	code := m.Run()
	_ = os.RemoveAll(queuesTests.dir)
	os.Exit(code)
}
