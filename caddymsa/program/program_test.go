package program

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A directory that is not there is an error before anything is run in it.
func TestDir(t *testing.T) {
	command := []string{os.Args[0]}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{"": "", t.TempDir(): "", "/nonexistent": "dir: stat /nonexistent", file: "is not a directory"} {
		_, err := (&Config{Command: command, Dir: dir}).Open()
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", dir, err, want)
		}
	}
}
