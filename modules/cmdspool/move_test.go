package cmdspool

import (
	"strings"
	"testing"
)

// Where nothing was moved, the same command would not go on.
func TestMoveNotBegun(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"a", "b"}, {"file:" + t.TempDir(), "file:" + t.TempDir()}} {
		cmd := moveCommand()
		cmd.SilenceErrors = true
		cmd.SetArgs(args)
		if err := cmd.Execute(); err == nil || strings.Contains(err.Error(), "goes on") {
			t.Errorf("%q: %v", args, err)
		}
	}
}
