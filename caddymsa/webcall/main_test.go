package webcall

import (
	"flag"
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	_ = flag.Set("test.parallel", "16") // they wait for servers that say nothing rather than work
	os.Exit(m.Run())
}
