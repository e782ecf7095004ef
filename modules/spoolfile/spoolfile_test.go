package spoolfile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"
)

func provision(t *testing.T, f *FileSpool) error {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	t.Cleanup(cancel)
	return f.Provision(ctx)
}

func TestProvision(t *testing.T) {
	data := t.TempDir()
	t.Setenv("XDG_DATA_HOME", data)
	t.Setenv("SPOOL", "/var/spool/msa")
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"":             filepath.Join(caddy.AppDataDir(), "msa", "spool"),
		"/a/b/../c/":   "/a/c",
		"rel":          filepath.Join(wd, "rel"),
		"{env.SPOOL}":  "/var/spool/msa",
		"/x{env.NONE}": "",
		"{what.ever}":  "",
		"~/spool":      "",
	} {
		f := &FileSpool{Path: path}
		err := provision(t, f)
		switch {
		case want == "" && err == nil:
			t.Errorf("path %q: no error", path)
		case want == "" && !strings.Contains(err.Error(), path):
			t.Errorf("path %q: the error does not name it: %v", path, err)
		case want != "" && (err != nil || f.Key() != "file:"+want):
			t.Errorf("path %q: key %q, %v; wanted %q", path, f.Key(), err, want)
		}
	}
	// `caddy validate` in another process must not touch the directory.
	if names, _ := os.ReadDir(data); len(names) != 0 {
		t.Errorf("Provision made %v", names)
	}
}

func TestOpenModule(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "spool")
	f := &FileSpool{Path: dir}
	if err := provision(t, f); err != nil {
		t.Fatal(err)
	}
	s, err := f.Open(t.Context(), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := f.Open(t.Context(), zap.NewNop()); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("a second opening: %v", err)
	}
}

func TestCaddyfile(t *testing.T) {
	for text, want := range map[string]string{
		"file":                 "",
		"file /var/spool/msa":  "/var/spool/msa",
		"file a b":             "error",
		"file a {\n	size 3\n}": "error",
	} {
		f := new(FileSpool)
		err := f.UnmarshalCaddyfile(caddyfile.NewTestDispenser(text))
		if (err != nil) != (want == "error") || err == nil && f.Path != want {
			t.Errorf("%s: %q, %v", text, f.Path, err)
		}
	}
}
