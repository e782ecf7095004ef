package spoolfile

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

// Each fault of a spool's directory is named, with a remedy; a store's own files are no strangers.
func TestExamine(t *testing.T) {
	for name, c := range map[string]struct {
		plant func(f *FileSpool)
		level doctor.Level
		text  string
	}{
		"as it should be": {func(*FileSpool) {}, roomy(t), "MiB are free"},
		"gone":            {func(f *FileSpool) { _ = os.RemoveAll(f.dir) }, doctor.Wrong, "the directory is gone"},
		"open":            {func(f *FileSpool) { _ = os.Chmod(f.dir, 0o755) }, doctor.Warn, "can look into it (mode 0755)"},
		"full":            {func(f *FileSpool) { f.Reserve = 1 << 60 }, doctor.Wrong, "messages are refused (452 4.3.1)"},
		"nearly full":     {func(f *FileSpool) { f.Reserve = free(t, f.dir) / 2 }, doctor.Warn, "below "},
		"strangers":       {func(f *FileSpool) { _ = os.WriteFile(filepath.Join(f.dir, "core.1234"), nil, 0o600) }, doctor.Warn, `"core.1234"`},
	} {
		f := &FileSpool{dir: t.TempDir(), Reserve: 1}
		if err := os.Chmod(f.dir, 0o700); err != nil {
			t.Fatal(err)
		}
		s, err := Open(f.dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		c.plant(f)
		found := f.Examine(t.Context(), caddymsa.Examination{})
		_ = s.Close()
		if !slices.ContainsFunc(found, func(f doctor.Finding) bool { return f.Level == c.level && strings.Contains(f.Text, c.text) }) {
			t.Errorf("%s: no %s: %q in %+v", name, c.level, c.text, found)
		}
		for _, f := range found {
			if f.Level != doctor.OK && f.Remedy == "" || name == "as it should be" && strings.Contains(f.Text, "not the spool's") {
				t.Errorf("%s: %+v", name, f)
			}
		}
	}
}

// roomy is what is found where nothing was planted: on a disk of which little is free that is a warning.
func roomy(t *testing.T) doctor.Level {
	t.Helper()
	usage, err := vfs.Default.GetDiskUsage(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if usage.AvailBytes < usage.TotalBytes/20 {
		return doctor.Warn
	}
	return doctor.OK
}

func free(t *testing.T, dir string) int64 {
	t.Helper()
	usage, err := vfs.Default.GetDiskUsage(dir)
	if err != nil {
		t.Fatal(err)
	}
	return int64(usage.AvailBytes)
}
